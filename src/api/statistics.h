// The process's statistics: gathered for the C API, malloc_stats and its like, and the tables of
// their fields, from which every form of output and the controls are made.
#pragma once

#include <carrel/carrel.h>

#include "config/config.h"
#include "heap/arena.h"
#include "heap/stats.h"

namespace carrel::core {

/// The process's heap in numbers, all zero before its first allocation.
void process_stats(HeapStats& stats);

/// The same in the C API's form. Without `resident`, the system isn't asked what is in memory,
/// and those fields are zero.
void fill_stats(carrel_stats& stats, bool resident);

/// Writes them to standard error as text, without allocating.
void print_statistics();

/// As many as the option allows.
inline constexpr std::size_t kMaxShardsShown = kDefault.max_shards;

/// One field of a statistics structure.
template <class Stats>
struct StatField {
  const char* name;
  std::uint64_t Stats::*member;
  const char* unit;  // "bytes" or "count"
  bool counts_up;    // since the start, never down
  const char* meaning;
};

inline constexpr StatField<carrel_stats> kStatFields[] = {
    {"live_bytes", &carrel_stats::live_bytes, "bytes", false,
     "in the program's hands, rounded up to slots and pages"},
    {"live_blocks", &carrel_stats::live_blocks, "count", false, "blocks in the program's hands"},
    {"cached_bytes", &carrel_stats::cached_bytes, "bytes", false,
     "free: in thread caches, and kept for large blocks"},
    {"active_bytes", &carrel_stats::active_bytes, "bytes", false,
     "address space of slabs, large blocks, arenas, kept spans"},
    {"slab_bytes", &carrel_stats::slab_bytes, "bytes", false, "address space of slabs"},
    {"large_bytes", &carrel_stats::large_bytes, "bytes", false,
     "in large blocks, rounded up to pages"},
    {"large_blocks", &carrel_stats::large_blocks, "count", false, "large blocks"},
    {"mapped_bytes", &carrel_stats::mapped_bytes, "bytes", false,
     "memory for blocks obtained from the system"},
    {"free_bytes", &carrel_stats::free_bytes, "bytes", false,
     "obtained memory that is in none of these"},
    {"touched_bytes", &carrel_stats::touched_bytes, "bytes", false,
     "free memory that is perhaps resident, waiting to be purged"},
    {"untouched_bytes", &carrel_stats::untouched_bytes, "bytes", false,
     "free memory that is known to hold no pages"},
    {"resident_bytes", &carrel_stats::resident_bytes, "bytes", false,
     "memory for blocks that is resident now, as the system says"},
    {"metadata_bytes", &carrel_stats::metadata_bytes, "bytes", false,
     "mapped for carrel's own records, apart from the memory for blocks"},
    {"metadata_resident_bytes", &carrel_stats::metadata_resident_bytes, "bytes", false,
     "of the metadata, resident now, as the system says"},
    {"purged_bytes", &carrel_stats::purged_bytes, "bytes", true, "given back to the system"},
    {"purges", &carrel_stats::purges, "count", true, "runs of pages given back"},
    {"refills", &carrel_stats::refills, "count", true, "batches of blocks taken from slabs"},
    {"flushes", &carrel_stats::flushes, "count", true, "batches of blocks given back to slabs"},
    {"remote_frees", &carrel_stats::remote_frees, "count", true,
     "blocks given back to slabs of another shard"},
    {"contended", &carrel_stats::contended, "count", true,
     "times that a thread had to wait for a lock of the heap"},
    {"spans", &carrel_stats::spans, "count", true, "spans handed out, for slabs and large blocks"},
    {"extensions", &carrel_stats::extensions, "count", true,
     "times that memory was obtained from the system"},
    {"threads", &carrel_stats::threads, "count", false, "threads with a cache"},
    {"shards", &carrel_stats::shards, "count", false, "sets of slabs that threads are dealt to"},
    {"arena_bytes", &carrel_stats::arena_bytes, "bytes", false, "address space of arenas"},
    {"arenas", &carrel_stats::arenas, "count", false, "arenas that exist"},
    {"used_bytes", &carrel_stats::used_bytes, "bytes", false,
     "memory in slabs, large blocks and arenas, and touched free memory: what limits count"},
    {"refusals", &carrel_stats::refusals, "count", true,
     "times that a request failed for want of memory or because of a limit"},
    {"huge_bytes", &carrel_stats::huge_bytes, "bytes", false,
     "of the resident memory for blocks, backed by huge pages now, as the system says"},
    {"retries", &carrel_stats::retries, "count", true,
     "times that a shortage handler had a request tried again"},
};

inline constexpr StatField<carrel_class_stats> kClassFields[] = {
    {"block_bytes", &carrel_class_stats::block_bytes, "bytes", false,
     "size of the blocks of this class"},
    {"slabs", &carrel_class_stats::slabs, "count", false,
     "slabs that are cut into blocks of this class"},
    {"slots", &carrel_class_stats::slots, "count", false,
     "blocks that the class's slabs have room for"},
    {"live_blocks", &carrel_class_stats::live_blocks, "count", false,
     "blocks of this class in the program's hands"},
    {"cached_blocks", &carrel_class_stats::cached_blocks, "count", false,
     "blocks of this class that are free in thread caches"},
    {"refills", &carrel_class_stats::refills, "count", true,
     "batches of blocks taken from these slabs"},
    {"flushes", &carrel_class_stats::flushes, "count", true,
     "batches of blocks given back to these slabs"},
    {"remote_frees", &carrel_class_stats::remote_frees, "count", true,
     "blocks given back by threads of another shard"},
    {"contended", &carrel_class_stats::contended, "count", true,
     "times that a thread had to wait for the lock of these slabs"},
};

inline constexpr StatField<carrel_shard_stats> kShardFields[] = {
    {"threads", &carrel_shard_stats::threads, "count", false,
     "threads that are dealt to this shard"},
    {"slabs", &carrel_shard_stats::slabs, "count", false, "slabs that this shard owns"},
    {"slab_bytes", &carrel_shard_stats::slab_bytes, "bytes", false,
     "address space of the shard's slabs"},
    {"used_bytes", &carrel_shard_stats::used_bytes, "bytes", false,
     "space of the shard's slabs in blocks that are live or cached"},
    {"cached_bytes", &carrel_shard_stats::cached_bytes, "bytes", false,
     "free blocks in its threads' caches, whatever shard they are of"},
    {"refills", &carrel_shard_stats::refills, "count", true,
     "batches of blocks taken from these slabs"},
    {"flushes", &carrel_shard_stats::flushes, "count", true,
     "batches of blocks given back to these slabs"},
    {"remote_frees", &carrel_shard_stats::remote_frees, "count", true,
     "blocks given back by threads of another shard"},
    {"contended", &carrel_shard_stats::contended, "count", true,
     "times that a thread had to wait for a lock of these slabs"},
};

inline constexpr StatField<carrel_arena_stats> kArenaFields[] = {
    {"live_bytes", &carrel_arena_stats::live_bytes, "bytes", false,
     "the arena's blocks, rounded up to slots and pages"},
    {"live_blocks", &carrel_arena_stats::live_blocks, "count", false, "the arena's live blocks"},
    {"active_bytes", &carrel_arena_stats::active_bytes, "bytes", false,
     "address space of the arena's slabs and large blocks"},
    {"peak_bytes", &carrel_arena_stats::peak_bytes, "bytes", false,
     "the most address space that the arena has had"},
    {"limit_bytes", &carrel_arena_stats::limit_bytes, "bytes", false,
     "the most address space that it may have; the largest number: no limit"},
    {"allocations", &carrel_arena_stats::allocations, "count", true,
     "blocks that the arena has handed out"},
    {"soft_limit_bytes", &carrel_arena_stats::soft_limit_bytes, "bytes", false,
     "address space beyond which what is freed is purged at once; the largest number: no limit"},
    {"free_bytes", &carrel_arena_stats::free_bytes, "bytes", false,
     "free memory that an arena with options of its own holds"},
    {"purged_bytes", &carrel_arena_stats::purged_bytes, "bytes", true,
     "of the memory that such an arena held free, given back"},
    {"decay_ms", &carrel_arena_stats::decay_ms, "ms", false,
     "after which that is given back; 4294967295: the option decay_ms says"},
};

/// How statistics and controls reach arenas, if there are any.
struct ArenaReports {
  std::size_t (*totals)(ArenaTotals& sum);  // returns how many there are
  /// The numbers so far; false beyond them and for destroyed ones.
  std::size_t (*numbers)();
  bool (*stats)(std::size_t number, carrel_arena_stats& stats);
  bool (*set_limit)(std::size_t number, std::uint64_t bytes);
  bool (*reset)(std::size_t number);
  /// For shortages (api/shortage.h): who is to be asked for an arena, if anyone; whether it refuses
  /// so large a block by itself.
  bool (*handler)(carrel_arena* arena, carrel_shortage_handler& handler, void*& context);
  bool (*refuses)(carrel_arena* arena, std::size_t size, std::size_t alignment);
  const void* set;  // where the pointer to all of them is, for who reads from outside
};

/// Null until the first arena is created.
[[gnu::visibility("hidden")]] extern constinit std::atomic<const ArenaReports*> arena_reports;

}  // namespace carrel::core
