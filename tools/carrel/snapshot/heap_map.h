// A map of another process's heap: every span, and in every slab every slot. Made from a copy of
// carrel's records, which takes milliseconds; the process need not stop for it. Its blocks are not
// read. What is written about the map is in document.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "live/live_heap.h"

namespace carrel::tools {

enum class SpanKind : std::uint8_t {
  kFree,   // in the pool, or on its way back to it
  kKept,   // of a large block that was freed: for the next one, or fenced in a hardened build
  kLarge,  // one large block
  kSlab,
  kGuarded,  // of a hardened build: sampled blocks, each between guard pages
  kUnknown,  // changed while it was copied
};
inline constexpr std::size_t kSpanKinds = 6;
const char* kind_name(SpanKind kind);

// Whose a slab or a large block is.
enum class Owner : std::uint8_t { kShard, kArena, kProfile };

// A sampled block between guard pages.
struct GuardedBlock {
  std::uint64_t start = 0;       // behind its span's start, in bytes
  std::uint64_t bytes = 0;       // as the program asked for
  std::uint64_t page_bytes = 0;  // of the pages that it has for itself
};

struct MappedSpan {
  std::uint64_t first = 0;     // granule
  std::uint64_t granules = 0;  // how many
  SpanKind kind = SpanKind::kUnknown;
  Owner owner = Owner::kShard;
  std::uint32_t owner_number = 0;  // of the shard or arena
  std::uint64_t block_start = 0;   // of a large block: behind its span's start, in bytes
  std::uint64_t block_bytes = 0;   // of a large block

  std::vector<GuardedBlock> guarded;  // the live ones, by address

  // Of a slab.
  std::uint32_t size_class = 0;
  std::uint32_t slots = 0;
  std::uint32_t live = 0;
  std::uint32_t cached = 0;                // in a thread's cache; neither live nor free
  std::vector<std::uint64_t> free_bits;    // a bit a slot, set: free
  std::vector<std::uint64_t> cached_bits;  // the same, set: cached; empty when none is

  // In memory, in bytes; what it is of.
  std::uint64_t resident_bytes = 0;
  std::uint64_t resident_live = 0;
  std::uint64_t resident_cached = 0;
  std::uint64_t resident_free = 0;  // what is none of these lies behind the last slot or block

  bool is_free(std::uint32_t slot) const { return (free_bits[slot / 64] >> slot % 64 & 1) != 0; }
  bool is_cached(std::uint32_t slot) const {
    return !cached_bits.empty() && (cached_bits[slot / 64] >> slot % 64 & 1) != 0;
  }
};

struct HeapMap {
  std::uint64_t base = 0;  // address of granule 0
  std::uint64_t granule_bytes = 0;
  std::vector<SlotClass> classes;  // by number; 0 is none
  std::vector<MappedSpan> spans;   // by address; they need not follow each other

  std::uint64_t record_bytes = 0;     // carrel's own records: address space
  std::uint64_t record_resident = 0;  // of it in memory

  // How it was had.
  std::uint64_t copied_bytes = 0;
  double copy_s = 0;
  double stopped_s = 0;  // 0: it was not stopped
  // Whose bits and count of free slots disagree: copied in between.
  std::uint64_t changed_slabs = 0;
  std::uint64_t stray_blocks = 0;  // cached ones that are no taken slot, for the same reason
  bool resident_known = false;     // whether the system told; else all such fields mean nothing

  // The whole process, as smaps says; parts that lie outside of carrel's ranges.
  std::uint64_t rss_bytes = 0;
  std::uint64_t foreign_bytes = 0;

  std::uint64_t address(const MappedSpan& span) const { return base + span.first * granule_bytes; }
};

// `stop`: all threads of the process stand still while the records are copied. Throws UserError.
HeapMap read_map(const LiveHeap& live, bool stop);

}  // namespace carrel::tools
