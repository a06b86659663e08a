// Where the records of a heap lie in memory, for tools that read another process's heap: carrel top
// and carrel snapshot. One constant per library, found through an ELF note that survives stripping
// and static linking, so that the process needs no code, no thread and no page for being looked at.
//
// Not an API: a release may change everything below kVersion. Whoever reads must refuse another
// version, and must expect that the process goes on changing what is read.
#pragma once

#include <cstdint>

namespace carrel {

/// The note in the ELF file: name kNoteName, type kNoteType. Its description is 8 bytes: the
/// distance from themselves to the HeapLayout, signed.
inline constexpr char kHeapNoteName[] = "carrel";
inline constexpr std::uint32_t kHeapNoteType = 1;

// Numbers in the records themselves.

/// What a span is.
enum class HeapSpanState : std::uint8_t { kUnused, kFree, kPurging, kLarge, kKept, kSlab };

/// Values of the class map, a byte a granule, where they are no slab's of a shard.
inline constexpr std::uint8_t kMapNothing = 0;
inline constexpr std::uint8_t kMapGuarded = 60;
inline constexpr std::uint8_t kMapSampled = 61;
inline constexpr std::uint8_t kMapArena = 62;
inline constexpr std::uint8_t kMapLarge = 63;

/// Shard of a slab that is no shard's.
inline constexpr std::uint16_t kHeapNoShard = 0xFFFF;

/// All that is not a pointer is an offset in bytes into the record that the group names, unless it
/// says otherwise. Fields have the width that is written behind them, 8 bytes where nothing is.
struct HeapLayout {
  static constexpr char kMagic[8] = {'c', 'a', 'r', 'r', 'e', 'l', 'H', 'L'};
  static constexpr std::uint32_t kVersion = 1;
  static constexpr std::uint32_t kMaxCacheBins = 192;

  char magic[8];
  std::uint32_t version;
  std::uint32_t bytes;       // of this struct
  std::uint32_t library[3];  // its version: major, minor, patch

  const void* heap;      // the one heap: Heap below
  const void* classes;   // array of Class, from number 0, which is none
  const void* arenas;    // pointer to ArenaReports, null while there are no arenas
  const void* profiler;  // pointer to Profiler, null while nothing was sampled
  const void* shortage;  // Shortage

  std::uint32_t granule_bytes;  // the number itself
  std::uint32_t class_count;    // the number itself, without class 0
  std::uint32_t hardened;       // 1: freed blocks wait in thread caches, large ones behind fences

  struct Heap {
    std::uint32_t bytes;  // its size
    std::uint32_t state;  // 4: `ready` once it can be read
    std::uint32_t ready;  // the number itself
    // The page map: address of granule 0; how many have entries; arrays of bytes and of Granule;
    // records of hardened builds and how many bytes a granule has of them (the number itself).
    std::uint32_t base, granule_count, class_map, granules, records, granule_records;
    std::uint32_t reserved;  // 1: whether the granules are one range of the address space
    // Metadata: the newest Chunk; the first byte of it that was never used.
    std::uint32_t chunks, next_record;
    // Shards: array of Row; how many (4).
    std::uint32_t rows, shard_count;
    // Thread caches: the newest Cache; how many.
    std::uint32_t caches, cache_count;
    // Large blocks beside those that thread caches count: of threads that are gone, and others.
    std::uint32_t gone_blocks, gone_bytes, large_blocks, large_bytes;
    // The pool of granules, and in it: added so far, free, free and touched, purged so far; bytes
    // of purged holes.
    std::uint32_t pool, added, free, touched, purged, holes_purged;
    // Events so far: spans handed out, extensions, purges, waits (4).
    std::uint32_t allocated, extensions, purges, contended;
    // Sampled blocks between guard pages, of hardened builds: array of GuardedSlot*, of which so
    // many were made (4); blocks that live, and bytes of their pages. All 0 where there are none.
    std::uint32_t guarded_slots, guarded_made, guarded_blocks, guarded_bytes;
  } in_heap;

  struct Granule {
    std::uint32_t bytes;  // its size
    std::uint32_t span;   // Span*, valid in a span's first and last granule, in a slab in each
  } in_granule;

  struct Span {
    std::uint32_t bytes;         // its size
    std::uint32_t first, count;  // 4 each: granules
    std::uint32_t state;         // 1: HeapSpanState
    std::uint32_t size_class;    // 1
    std::uint32_t shard;         // 2
    std::uint32_t large_bytes;
    std::uint32_t free_slots;  // 4
    std::uint32_t arena;       // 4
    std::uint32_t free_bits;   // pointer to words of 8 bytes, a bit a slot, set: free
  } in_span;

  struct Chunk {
    std::uint32_t next, size;  // `size` in bytes, the chunk's own record at its start included
  } in_chunk;

  struct Row {
    std::uint32_t bytes;  // its size; it begins with the Bins of classes 1 to class_count
  } in_row;

  struct Bin {
    std::uint32_t bytes;      // its size
    std::uint32_t slabs;      // 4
    std::uint32_t contended;  // 4
    std::uint32_t used_slots, refills, flushes, taken_slots, remote_slots;
  } in_bin;

  struct Cache {
    std::uint32_t bytes;  // its size
    std::uint32_t next, shard;
    std::uint32_t bins;  // array of CacheBin
    // Spans kept for large blocks: granules, less those that were taken away. Large blocks and
    // their bytes, allocated less freed: only the sums over all threads mean anything.
    std::uint32_t kept_granules, taken_granules, large_blocks, large_bytes;
    std::uint32_t bin_count;   // the number itself
    std::uint32_t most_slots;  // the number itself: no bin holds more
    // The bin whose floor is raised for a moment (4), 0: none; where it is else.
    std::uint32_t raised_bin, true_floor;
    std::uint8_t bin_class[kMaxCacheBins];  // the numbers themselves: whose blocks are in which bin
  } in_cache;

  struct CacheBin {
    std::uint32_t bytes;       // its size
    std::uint32_t top, floor;  // pointers: blocks lie from floor on, as many as fit before top
  } in_cache_bin;

  struct Class {
    std::uint32_t bytes;                        // its size
    std::uint32_t slot_bytes, granules, slots;  // 4 each; granules and slots of a slab
  } in_class;

  struct Arenas {
    std::uint32_t set;  // in ArenaReports: pointer to a pointer to the set
    // In the set: array of Arena*; how many were made (4); how many exist now.
    std::uint32_t table, made, count;
  } in_arenas;

  struct Arena {
    std::uint32_t bytes;   // its size
    std::uint32_t in_use;  // 1: whether it exists
    std::uint32_t live_bytes, live_blocks, span_bytes;
    std::uint32_t pool;  // pointer to the heap's pool, or to one of its own
  } in_arena;

  struct GuardedSlot {
    std::uint32_t bytes;                    // its size
    std::uint32_t state;                    // 4: `live` while a block lives there
    std::uint32_t live;                     // the number itself
    std::uint32_t block, size, page_bytes;  // its start, its size, bytes of the pages it lies in
  } in_guarded_slot;

  struct Shortage {
    std::uint32_t refusals, retries;  // requests that failed, and that were tried again
  } in_shortage;

  struct Profiler {
    std::uint32_t arena;  // an Arena that is in no table: the slabs of sampled blocks
  } in_profiler;
};

}  // namespace carrel
