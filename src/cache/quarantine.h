// Where a hardened build keeps a thread's freed blocks before they may be used again.
//
// Basic design: free pushes to one bin per size class, malloc pops from another. What is freed
// waits until the first bin is full; then a random half of it moves to the second, in random
// order. Of large blocks only a few wait, and a random one makes room for each that comes. So no
// block comes back at once, nobody can foresee when it does, and the fast paths choose nothing.
// Here is only what that needs: how many blocks wait, and the choice. The bins are a thread
// cache's, moved by its keeper (cache/thread_cache.h).
#pragma once

#include "slab/random_slots.h"

namespace carrel::core {

/// Blocks of each class that wait in a thread, at most; a power of two, at least two.
struct QuarantinePlaces {
  std::uint16_t count[kClassCount + 1] = {};

  explicit constexpr QuarantinePlaces(std::size_t bytes_per_class) {
    for (std::uint8_t id = 1; id <= kClassCount; ++id) {
      std::size_t places = bytes_per_class / kClasses[id].slot_bytes;
      if (places < 2) places = 2;
      if (places > 64) places = 64;
      count[id] = static_cast<std::uint16_t>(std::bit_floor(places));
    }
  }
};

/// Up to so many, one is chosen at a time.
inline constexpr std::uint32_t kFewPlaces = 8;

/// Takes half of `count` blocks, at most 64 and a multiple of 8, at random and writes them to
/// `drawn`; the others come to the front.
inline void draw_half(void** blocks, std::uint32_t count, void** drawn, RandomSource& random) {
  for (std::uint32_t left = count; left > count / 2;) {
    std::uint64_t word = random.word();
    for (int of_word = 0; of_word < 4; ++of_word, word >>= 16) {
      void*& place = blocks[((word & 0xFFFF) * left) >> 16];
      *drawn++ = place;
      place = blocks[--left];
    }
  }
}

}  // namespace carrel::core
