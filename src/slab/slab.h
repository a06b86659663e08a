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
/// Instead of a shard's number: an arena's slab.
inline constexpr std::uint32_t kNoShard = 0xFFFF;

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
  if (want > slab->free_slots) want = slab->free_slots;
  const std::size_t slot_bytes = info.slot_bytes;
  void** const last = end - want;
  std::uint64_t* word = slab->free_bits;
  for (char* start = base; end != last; ++word, start += 64 * slot_bytes) {
    std::uint64_t bits = *word;
    if (bits == 0) continue;
    do {
      *--end = start + static_cast<unsigned>(std::countr_zero(bits)) * slot_bytes;
      bits &= bits - 1;
    } while (bits != 0 && end != last);
    *word = bits;
  }
  slab->free_slots -= want;
  return want;
}

/// Marks the slots of the first blocks free that lie in this slab; returns how many they
/// are. A block that is no slot's first byte, or whose slot is free already, is misuse.
/// Bits of one word are gathered in a register. Not inlined: it needs all of them.
template <OsLayer Os>
CARREL_NOINLINE std::uint32_t give_slots(Span* slab, const char* base, const ClassInfo& info,
                                         void* const* blocks, std::uint32_t count) {
  const std::size_t slab_bytes = std::size_t{info.granules} << kGranuleShift;
  const std::size_t slot_bytes = info.slot_bytes;
  const std::size_t slots = info.slots;
  const std::uint64_t reciprocal = info.reciprocal;
  std::uint64_t* const words = slab->free_bits;
  std::size_t word_index = 0;
  std::uint64_t word = words[0];
  void* const* block = blocks;
  void* const* const end = blocks + count;
  for (; block != end; ++block) {
    const auto offset = static_cast<std::size_t>(static_cast<const char*>(*block) - base);
    if (offset >= slab_bytes) break;
    const std::size_t slot = (offset * reciprocal) >> kReciprocalShift;
    if (CARREL_UNLIKELY(slot * slot_bytes != offset || slot >= slots)) {
      Report<Os>::interior_pointer(*block);
    }
    if (slot / 64 != word_index) {
      words[word_index] = word;
      word_index = slot / 64;
      word = words[word_index];
    }
    const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
    if (CARREL_UNLIKELY((word & bit) != 0)) Report<Os>::double_free(*block);
    word |= bit;
  }
  words[word_index] = word;
  const auto given = static_cast<std::uint32_t>(block - blocks);
  slab->free_slots += given;
  return given;
}

}  // namespace carrel::core
