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
  for (std::uint32_t word = 0; word < info.bit_words; ++word) {
    std::uint64_t all = ~std::uint64_t{0};
    CARREL_OPAQUE(all);  // or it becomes a memset, whose code may be resident for this alone
    bits[word] = all;
  }
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
    if (bits == ~std::uint64_t{0} && end - last >= 64) {  // no bit to search for
      char* slot = start;
      for (void** const stop = end - 64; end != stop; slot += slot_bytes) *--end = slot;
      *word = 0;
      continue;
    }
    do {
      *--end = start + static_cast<unsigned>(std::countr_zero(bits)) * slot_bytes;
      bits &= bits - 1;
    } while (bits != 0 && end != last);
    *word = bits;
  }
  slab->free_slots -= want;
  return want;
}

/// Blocks in a row from which on marking them together is quicker.
inline constexpr std::ptrdiff_t kRunStart = 8;

/// Whether the first kRunStart of these blocks follow each other in memory, upwards or
/// downwards, as far as two differences can tell.
inline bool begins_run(void* const* blocks, std::size_t slot_bytes) {
  const std::size_t step = address_of(blocks[1]) - address_of(blocks[0]);
  return (step == slot_bytes || step == -slot_bytes) &&
         address_of(blocks[kRunStart - 1]) - address_of(blocks[0]) ==
             std::size_t{kRunStart - 1} * step;
}

/// Marks free the blocks, of `count` that begin in slot `slot`, that follow each other as the
/// first two do. Returns how many.
template <OsLayer Os>
CARREL_NOINLINE std::uint32_t give_run(Span* slab, const char* base, const ClassInfo& info,
                                       void* const* blocks, std::size_t count, std::size_t slot) {
  const std::size_t step = address_of(blocks[1]) - address_of(blocks[0]);
  const bool upwards = step == info.slot_bytes;
  const std::size_t room = upwards ? info.slots - slot : slot + 1;
  if (count > room) count = room;
  std::uint32_t run = 1;
  while (run < count && address_of(blocks[run]) - address_of(blocks[run - 1]) == step) ++run;
  std::size_t first = upwards ? slot : slot + 1 - run;
  for (std::size_t left = run; left != 0;) {
    const std::size_t in_word = 64 - first % 64;
    const std::size_t here = left < in_word ? left : in_word;
    const std::uint64_t mask = (~std::uint64_t{0} >> (64 - here)) << (first % 64);
    std::uint64_t& word = slab->free_bits[first / 64];
    if (CARREL_UNLIKELY((word & mask) != 0)) {
      const auto bit = static_cast<unsigned>(std::countr_zero(word & mask));
      Report<Os>::double_free(base + (first / 64 * 64 + bit) * info.slot_bytes);
    }
    word |= mask;
    first += here;
    left -= here;
  }
  return run;
}

/// Marks the slots of the first blocks free that lie in this slab; returns how many they
/// are. A block that is no slot's first byte, or whose slot is free already, is misuse.
/// Programs often free in the order of allocation or against it: blocks that follow each
/// other in memory are marked together.
template <OsLayer Os>
CARREL_NOINLINE std::uint32_t give_slots(Span* slab, const char* base, const ClassInfo& info,
                                         void* const* blocks, std::uint32_t count) {
  std::uint64_t* const words = slab->free_bits;
  const std::uint32_t slots = info.slots;
  const auto slot_of = [base, &info](const void* block) {
    return exact_slot(info, address_of(block) - address_of(base));
  };
  void* const* block = blocks;
  void* const* const end = blocks + count;
  while (block != end) {
    void* const* stop = end;
    if (end - block >= kRunStart) {
      if (begins_run(block, info.slot_bytes)) {
        const std::size_t slot = slot_of(*block);
        if (CARREL_UNLIKELY(slot >= slots)) break;
        block += give_run<Os>(slab, base, info, block, static_cast<std::size_t>(end - block), slot);
        continue;
      }
      stop = block + kRunStart;
    }
    do {
      const std::size_t slot = slot_of(*block);
      if (CARREL_UNLIKELY(slot >= slots)) goto stopped;
      const std::uint64_t word = words[slot / 64];
      if (CARREL_UNLIKELY((word >> (slot % 64) & 1) != 0)) Report<Os>::double_free(*block);
      words[slot / 64] = word | std::uint64_t{1} << (slot % 64);
    } while (++block != stop);
  }
stopped:
  // Another slab's block, or a pointer into this one that is no slot's start.
  if (block != end && address_of(*block) - address_of(base) < std::size_t{info.granules}
                                                                  << kGranuleShift) {
    Report<Os>::interior_pointer(*block);
  }
  const auto given = static_cast<std::uint32_t>(block - blocks);
  slab->free_slots += given;
  return given;
}

}  // namespace carrel::core
