// Which free slot a hardened build hands out: a random one of the lowest ones.
//
// Among the lowest, so that a slab fills from its beginning and its last pages stay untouched as
// long as they can: a window of up to 64 slots in each of up to four bitmap words. Guarded by the
// slab bin's lock, like the slab.
#pragma once

#include "slab/slab.h"

namespace carrel::core {

/// A generator for choices that an attacker should not foresee without reading carrel's memory.
/// Not a cipher.
class RandomSource {
 public:
  /// Sources with the same seed and different numbers have nothing to do with each other.
  void seed(std::uint64_t seed, std::uint64_t number) {
    state_ = (seed + number) * 0x9E3779B97F4A7C15;
    state_ ^= state_ >> 32;
    state_ = state_ * 0xD6E8FEB86659FD93 | 1;
  }
  bool seeded() const { return state_ != 0; }

  /// 64 bits, of which the upper ones are better.
  std::uint64_t word() {
    state_ = state_ * 0x5851F42D4C957F2D + 0x14057B7EF767814F;
    return state_ ^ (state_ >> 32);
  }

  /// A number below `bound`, at most 2^16; nearly uniform.
  std::uint32_t below(std::uint32_t bound) {
    return static_cast<std::uint32_t>(((word() >> 32) * bound) >> 32);
  }

 private:
  std::uint64_t state_ = 0;
};

/// As take_slots, in random order.
inline std::uint32_t take_random_slots(Span* slab, char* base, const ClassInfo& info, void** end,
                                       std::uint32_t want, RandomSource& random) {
  constexpr std::uint32_t kWords = 4;
  constexpr std::uint32_t kLargeSlotBytes = 512;
  // Of large slots a smaller window: each may be a page of its own.
  const unsigned span = info.slot_bytes >= kLargeSlotBytes ? 15 : 63;
  if (want > slab->free_slots) want = slab->free_slots;
  std::uint32_t words[kWords];
  std::uint32_t count = 0;
  std::uint32_t next = 0;
  for (std::uint32_t taken = 0; taken < want;) {
    while (count < kWords && next < info.bit_words) {
      if (slab->free_bits[next] != 0) words[count++] = next;
      ++next;
    }
    const std::uint32_t chosen = random.below(count);
    std::uint64_t& bits = slab->free_bits[words[chosen]];
    const auto lowest = static_cast<unsigned>(std::countr_zero(bits));
    const std::uint64_t window =
        lowest + span >= 63 ? bits : bits & ((2ull << (lowest + span)) - 1);
    // The first slot from a random place of the window on.
    const auto highest = 63u - static_cast<unsigned>(std::countl_zero(window));
    const unsigned turn = lowest + random.below(highest - lowest + 1);
    const auto bit =
        (static_cast<unsigned>(std::countr_zero(std::rotr(window, static_cast<int>(turn)))) +
         turn) %
        64;
    bits &= ~(std::uint64_t{1} << bit);
    *--end = base + (words[chosen] * 64u + bit) * std::size_t{info.slot_bytes};
    ++taken;
    if (bits == 0) words[chosen] = words[--count];
  }
  slab->free_slots -= want;
  return want;
}

}  // namespace carrel::core
