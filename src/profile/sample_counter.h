// How far a thread whose allocations are sampled is from its next samples.
//
// Small blocks are counted by size class, whole slots at a time: of each class so many allocations
// pass before one is sampled. Large ones share one countdown in bytes. Both are drawn from the same
// Poisson process (profile/poisson.h), which has no memory: to forget a countdown and draw it anew
// changes no probability.
#pragma once

#include "profile/poisson.h"
#include "slab/size_class.h"

namespace carrel::core {

struct SampleCounter {
  std::uint64_t mean_bytes = 0;  // that all below was drawn with; 0: nothing was yet
  std::uint64_t random_state = 0;
  std::int64_t bytes_until_sample = 0;             // of large blocks
  std::uint64_t slots_left[kClassCount + 1] = {};  // of a class, before the one that is sampled
  bool sampling = false;                           // the thread is taking a sample just now

  void draw_large() { bytes_until_sample = next_distance(random_state, mean_bytes); }
  void draw_class(std::uint8_t size_class) {
    slots_left[size_class] = static_cast<std::uint64_t>(next_distance(random_state, mean_bytes)) /
                             kClasses[size_class].slot_bytes;
  }
};

/// What a request counts for.
constexpr std::uint64_t counted_for_sampling(std::uint64_t size) {
  if (size > kMaxSlotBytes) return size;
  return kClasses[size_class_for(size == 0 ? 1 : size)].slot_bytes;
}

}  // namespace carrel::core
