// Size classes: which sizes share a slab, how large the slab is, and the arithmetic that
// finds a slot's number without dividing.
//
// Basic design: steps of 16 bytes to 128, then four classes per doubling to 32 KiB, so
// that rounding wastes at most a fifth. Class ids start at 1; 0 means none. Everything is
// computed at compile time.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/bits.h"
#include "base/compiler.h"
#include "mem/page_map.h"
#include "mem/span.h"

namespace carrel::core {

inline constexpr std::size_t kSlotAlignment = 16;
inline constexpr std::size_t kMaxSlotBytes = 32 * kKiB;
inline constexpr std::size_t kCacheLineBytes = 64;

/// The class of a size from 1 to kMaxSlotBytes.
constexpr std::uint8_t size_class_for(std::size_t bytes) {
  if (bytes <= 128) return static_cast<std::uint8_t>((bytes + 15) / 16);
  const unsigned log = floor_log2(bytes - 1);            // 2^log < bytes <= 2^(log+1)
  const std::size_t quarter = (bytes - 1) >> (log - 2);  // 4 to 7
  return static_cast<std::uint8_t>(8 + (log - 7) * 4 + (quarter - 4) + 1);
}

constexpr std::size_t slot_bytes_for(std::uint8_t size_class) {
  if (size_class <= 8) return std::size_t{size_class} * 16;
  const unsigned step = size_class - 9u;
  return (std::size_t{128} << (step / 4)) + (std::size_t{32} << (step / 4)) * (step % 4 + 1);
}

inline constexpr std::uint8_t kClassCount = size_class_for(kMaxSlotBytes);
static_assert(kClassCount <= kMaxClassId);
static_assert(slot_bytes_for(kClassCount) == kMaxSlotBytes);

/// What a slab of one class looks like. A cache line each, so that the index is a shift.
struct alignas(64) ClassInfo {
  std::uint32_t slot_bytes;
  std::uint32_t granules;        // of a slab
  std::uint32_t slots;           // in a slab
  std::uint32_t bit_words;       // of its bitmap
  std::uint64_t reciprocal;      // ceil(2^40 / slot_bytes)
  std::uint64_t odd_inverse;     // see exact_slot
  std::uint32_t twos;            // trailing zero bits of slot_bytes
  std::uint64_t fullness_scale;  // see Slab's fullness_of
};

/// Slabs of 64 KiB, or as much as holds 8 slots: only pages that are used cost memory, and
/// a slab that is free again serves any class.
constexpr std::uint32_t slab_granules_for(std::size_t slot_bytes) {
  std::uint32_t granules = 1;
  while (granules * kGranuleBytes / slot_bytes < 8) granules *= 2;
  return granules;
}

/// The number that, multiplied with an odd one, gives 1 modulo 2^64: each of Newton's steps doubles
/// the bits that are right, of which the number itself has three.
constexpr std::uint64_t inverse_of(std::uint64_t odd) {
  std::uint64_t inverse = odd;
  for (int bits = 3; bits < 64; bits *= 2) inverse *= 2 - odd * inverse;
  return inverse;
}

inline constexpr std::uint32_t kFullnessLists = 8;
inline constexpr unsigned kReciprocalShift = 40;

constexpr std::array<ClassInfo, kClassCount + 1> make_class_table() {
  std::array<ClassInfo, kClassCount + 1> table{};
  for (std::uint8_t id = 1; id <= kClassCount; ++id) {
    const std::size_t slot = slot_bytes_for(id);
    const std::uint32_t granules = slab_granules_for(slot);
    const auto slots = static_cast<std::uint32_t>(granules * kGranuleBytes / slot);
    table[id] = {
        .slot_bytes = static_cast<std::uint32_t>(slot),
        .granules = granules,
        .slots = slots,
        .bit_words = (slots + 63) / 64,
        .reciprocal = ((std::uint64_t{1} << kReciprocalShift) + slot - 1) / slot,
        .odd_inverse = inverse_of(slot >> std::countr_zero(slot)),
        .twos = static_cast<std::uint32_t>(std::countr_zero(slot)),
        .fullness_scale = ((std::uint64_t{kFullnessLists - 1}) << 32) / slots,
    };
  }
  return table;
}
CARREL_START_DATA("classes") inline constexpr auto kClasses = make_class_table();

/// Slot number of a byte offset into a slab. Exact: the reciprocal is too large by less
/// than slot_bytes / 2^40, which an offset below 2^20 cannot turn into a whole slot.
constexpr std::uint32_t slot_index(const ClassInfo& info, std::size_t offset) {
  return static_cast<std::uint32_t>((offset * info.reciprocal) >> kReciprocalShift);
}

/// The same for a slot's first byte; for any other offset, also one that lies outside of the slab,
/// a number of info.slots or more. For both steps have just one result for each offset: what is
/// below info.slots comes from that slot's first byte and from nothing else.
constexpr std::size_t exact_slot(const ClassInfo& info, std::size_t offset) {
  return std::rotr(std::uint64_t{offset} * info.odd_inverse, static_cast<int>(info.twos));
}

// Blocks smaller than a cache line should go back to the shard they came from, so that two
// CPUs do not come to share lines. The class map marks the slabs of such classes with the
// shard's group; a thread clears its own group's bit and finds the plain class, or else
// a class with a foreign bit, which has a cache bin of its own for blocks to be returned.
inline constexpr std::uint8_t kGroupBits = 0xC0;
inline constexpr std::uint8_t kFirstUngroupedClass = size_class_for(kCacheLineBytes);

constexpr std::uint8_t group_bit(std::uint32_t shard) {
  return static_cast<std::uint8_t>(0x40u << (shard % 2));
}
constexpr std::uint8_t class_map_value(std::uint8_t size_class, std::uint32_t shard) {
  return size_class < kFirstUngroupedClass
             ? static_cast<std::uint8_t>(size_class | group_bit(shard))
             : size_class;
}
constexpr std::uint8_t plain_class(std::uint8_t map_value) {
  return static_cast<std::uint8_t>(map_value & ~kGroupBits);
}

}  // namespace carrel::core
