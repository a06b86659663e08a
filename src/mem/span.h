// A span: a run of granules that is free, one large block, or a slab of equal slots.
//
// Its description lies in metadata, apart from the memory it describes, and is
// type-stable: once made it stays a Span for the life of the process, so that a thread
// that looks one up by a stale or wild pointer reads a Span and can judge it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bits.h"
#include "base/relaxed.h"

namespace carrel::core {

/// The unit of address space: the page map has one entry for each.
inline constexpr unsigned kGranuleShift = 16;
inline constexpr std::size_t kGranuleBytes = std::size_t{1} << kGranuleShift;

constexpr std::uint32_t granules_for(std::size_t bytes) {
  return static_cast<std::uint32_t>((bytes + kGranuleBytes - 1) >> kGranuleShift);
}

enum class SpanState : std::uint8_t {
  kUnused,   // a description without a span, kept for reuse
  kFree,     // in the span pool
  kPurging,  // taken out of the pool while its pages are given back
  kLarge,    // one large block
  kKept,     // one that was freed, kept for the next: see heap/span_cache.h
  kSlab,     // slots of one size class
};

struct alignas(64) Span {
  // Guarded by the span pool's lock while free, by the slab bin's lock while a slab, and
  // by the block's owner while large; the relaxed ones may be looked at by anyone.
  Span* next = nullptr;
  Span* prev = nullptr;
  std::uint32_t first = 0;  // granule
  std::uint32_t count = 0;  // granules
  Relaxed<SpanState> state = SpanState::kUnused;
  Relaxed<std::uint8_t> size_class = 0;
  Relaxed<std::uint16_t> shard = 0;
  std::uint32_t touched_count = 0;  // free: granules that may hold resident pages

  // Large blocks.
  std::size_t large_bytes = 0;  // usable, a multiple of the page size
  bool moved_pages = false;     // its pages came by move_pages: see SpanPool::release
  bool sampled = false;         // the block is in the heap profile: see heap/profiler.h

  // Slabs; the algorithms are in slab/slab.h.
  bool holes_purged = false;              // nothing was freed here since its holes were purged
  Relaxed<std::uint8_t> fullness = 0xFF;  // which of its bin's lists it is in
  std::uint32_t free_slots = 0;
  union {
    std::uint32_t last_use_tick = 0;  // of a shard's slab
    std::uint32_t first_word;         // of an arena's slab: before it no bit is set
  };
  Relaxed<std::uint32_t> arena = 0;    // number of the arena, where the class map says so
  std::uint64_t* free_bits = nullptr;  // one bit a slot, set = free: inline or in metadata
  static constexpr std::uint32_t kInlineWords = 8;
  std::uint64_t inline_bits[kInlineWords] = {};
};
static_assert(sizeof(Span) <= 192);

}  // namespace carrel::core
