// Where a hardened build keeps a thread's freed blocks before they may be used again.
//
// Basic design: per size class a small array in metadata. A freed block takes a random place in
// it, and the block that was there goes on to the cache. So no block comes back at once, and
// nobody can foresee when it does. Belongs to one thread, like its cache.
#pragma once

#include "slab/random_slots.h"

namespace carrel::core {

/// How a quarantine of so many bytes per class is laid out: powers of two, so that a place is
/// chosen without dividing; at least two for the largest blocks.
struct QuarantineLayout {
  std::uint16_t first[kClassCount + 1] = {};
  std::uint16_t places[kClassCount + 1] = {};
  std::uint32_t total = 0;

  explicit constexpr QuarantineLayout(std::size_t bytes_per_class) {
    for (std::uint8_t id = 1; id <= kClassCount; ++id) {
      std::size_t count = bytes_per_class / kClasses[id].slot_bytes;
      if (count < 2) count = 2;
      if (count > 64) count = 64;
      places[id] = static_cast<std::uint16_t>(std::bit_floor(count));
      first[id] = static_cast<std::uint16_t>(total);
      total += places[id];
    }
  }
};

template <std::size_t kBytesPerClass>
class Quarantine {
 public:
  static constexpr QuarantineLayout kLayout{kBytesPerClass};

  explicit Quarantine(std::uint64_t seed) { random_.seed(seed, 0); }

  /// Puts a block in, and returns the one that must leave for it, or null.
  void* exchange(std::uint8_t id, void* block) {
    void*& place = blocks_[kLayout.first[id] + random_.below(kLayout.places[id])];
    void* left = place;
    place = block;
    return left;
  }

  /// Calls give(id, blocks, count) for the blocks of each class, and keeps none.
  template <class Give>
  void empty(Give give) {
    for (std::uint8_t id = 1; id <= kClassCount; ++id) {
      void** places = blocks_ + kLayout.first[id];
      std::uint32_t count = 0;
      for (std::uint32_t i = 0; i < kLayout.places[id]; ++i) {
        if (places[i] != nullptr) places[count++] = places[i];
      }
      if (count != 0) give(id, places, count);
      for (std::uint32_t i = 0; i < kLayout.places[id]; ++i) places[i] = nullptr;
    }
  }

 private:
  RandomSource random_;
  void* blocks_[kLayout.total] = {};
};

}  // namespace carrel::core
