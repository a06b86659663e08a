// A slab: a span cut into equal slots, whose free slots are set bits in metadata.
//
// Nothing is ever written into a free slot. Slots are handed out from the lowest address
// up, so that pages at the end of a fresh slab stay untouched. Not thread-safe: the slab
// bin's lock guards every function here.
#pragma once

#include "base/report.h"
#include "mem/metadata_arena.h"
#include "mem/page_map.h"
#include "mem/span.h"
#include "slab/size_class.h"

namespace carrel::core {

/// Which of its bin's lists a slab belongs in: 0 the fullest with room, kFullnessLists - 1
/// entirely free. Must not be asked about a slab without a free slot.
inline std::uint8_t fullness_of(std::uint32_t free_slots, const ClassInfo& info) {
  return free_slots == info.slots
             ? static_cast<std::uint8_t>(kFullnessLists - 1)
             : static_cast<std::uint8_t>((free_slots * info.fullness_scale) >> 32);
}
inline constexpr std::uint8_t kInNoList = 0xFF;

/// Makes a span a slab with all slots free; false when metadata is exhausted.
template <OsLayer Os>
bool make_slab(Span* span, std::uint8_t size_class, std::uint32_t shard,
               MetadataArena<Os>& metadata) {
  const ClassInfo& info = kClasses[size_class];
  std::uint64_t* bits = span->inline_bits;
  if (info.bit_words > Span::kInlineWords) {
    bits = static_cast<std::uint64_t*>(metadata.allocate(info.bit_words * sizeof(std::uint64_t)));
    if (bits == nullptr) return false;
  }
  for (std::uint32_t word = 0; word < info.bit_words; ++word) bits[word] = ~std::uint64_t{0};
  if (info.slots % 64 != 0) {
    bits[info.bit_words - 1] = (std::uint64_t{1} << (info.slots % 64)) - 1;
  }
  span->free_bits = bits;
  span->size_class = size_class;
  span->shard = static_cast<std::uint16_t>(shard);
  span->free_slots = info.slots;
  span->fullness = kInNoList;
  span->holes_purged = true;  // nothing in it was touched yet
  return true;
}

/// Undoes make_slab.
template <OsLayer Os>
void unmake_slab(Span* span, MetadataArena<Os>& metadata) {
  const ClassInfo& info = kClasses[span->size_class];
  if (info.bit_words > Span::kInlineWords) {
    metadata.release(span->free_bits, info.bit_words * sizeof(std::uint64_t));
  }
  span->free_bits = nullptr;
  span->size_class = 0;
}

/// Takes up to `want` free slots out of a slab, lowest address first, writing them from
/// `end` downwards; returns how many.
inline std::uint32_t take_slots(Span* slab, char* base, const ClassInfo& info, void** end,
                                std::uint32_t want) {
  std::uint32_t taken = 0;
  if (want > slab->free_slots) want = slab->free_slots;
  for (std::uint32_t word = 0; taken < want; ++word) {
    std::uint64_t bits = slab->free_bits[word];
    while (bits != 0 && taken < want) {
      const auto bit = static_cast<std::uint32_t>(std::countr_zero(bits));
      bits &= bits - 1;
      *--end = base + (std::size_t{word} * 64 + bit) * info.slot_bytes;
      ++taken;
    }
    slab->free_bits[word] = bits;
  }
  slab->free_slots -= taken;
  return taken;
}

/// Checks that `block` is the first byte of a slot of this slab, and returns its number.
template <OsLayer Os>
std::uint32_t checked_slot(const char* base, const ClassInfo& info, const void* block) {
  const std::size_t offset = static_cast<std::size_t>(static_cast<const char*>(block) - base);
  const std::uint32_t slot = slot_index(info, offset);
  if (CARREL_UNLIKELY(std::size_t{slot} * info.slot_bytes != offset || slot >= info.slots)) {
    Report<Os>::interior_pointer(block);
  }
  return slot;
}

/// Marks a slot free; a slot that is free already is a double free.
template <OsLayer Os>
void give_slot(Span* slab, std::uint32_t slot, const void* block) {
  std::uint64_t& word = slab->free_bits[slot / 64];
  const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
  if (CARREL_UNLIKELY((word & bit) != 0)) Report<Os>::double_free(block);
  word |= bit;
  ++slab->free_slots;
}

}  // namespace carrel::core
