// The heap's numbers: gathered on demand from the parts, at the cost of a few locks.
//
// Nothing is counted for them on the fast path: what is live is what slabs have handed out
// less what caches hold. Each number is exact at the moment its part was asked; together they
// may be off by what other threads did meanwhile. Thread-safe. Arenas are not looked at here.
#pragma once

#include "cache/thread_registry.h"
#include "heap/large_objects.h"

namespace carrel::core {

/// One size class over all shards.
struct ClassStats {
  std::size_t slabs = 0;
  std::size_t used_slots = 0;    // live or cached
  std::size_t cached_slots = 0;  // in thread caches
  std::uint64_t refills = 0;     // this and what follows: see BinTotals
  std::uint64_t flushes = 0;
  std::uint64_t remote_slots = 0;
  std::uint64_t contended = 0;
};

/// One shard over all size classes.
struct ShardStats {
  std::size_t threads = 0;
  std::size_t slabs = 0;
  std::size_t slab_bytes = 0;
  std::size_t used_bytes = 0;    // live or cached, wherever
  std::size_t cached_bytes = 0;  // in the caches of its threads, whosesoever
  std::uint64_t refills = 0;
  std::uint64_t flushes = 0;
  std::uint64_t remote_slots = 0;
  std::uint64_t contended = 0;
};

/// All sizes in bytes.
struct HeapStats {
  ClassStats classes[kClassCount + 1];
  std::size_t live_bytes = 0;  // in the program's hands, rounded to slots and pages
  std::size_t live_blocks = 0;
  std::size_t cached_bytes = 0;  // in thread caches, and spans kept for large blocks
  std::size_t slab_bytes = 0;    // address space of all slabs
  std::size_t large_blocks = 0;
  std::size_t large_bytes = 0;
  std::size_t heap_bytes = 0;     // added to the heap so far
  std::size_t free_bytes = 0;     // in the span pool
  std::size_t touched_bytes = 0;  // of these, perhaps resident
  std::size_t purged_bytes = 0;   // given back so far
  std::size_t metadata_bytes = 0;
  std::size_t threads = 0;
  PoolEvents events;
};

/// Blocks in a cache, by calling visit(size_class, blocks) for each bin that has some.
template <class Visit>
void for_each_cached(const ThreadCache& cache, Visit visit) {
  for (std::uint32_t index = 0; index < kCacheBinCount; ++index) {
    const std::uint8_t id = class_of_bin(index);
    if (id == 0 || id > kClassCount) continue;
    // Also those below a floor that was raised for a sample.
    const CacheBin& bin = cache.bins[index];
    const std::uint32_t blocks =
        index == cache.raised_bin
            ? CacheBin{.top = bin.top, .floor = cache.true_floor, .ceiling = nullptr}.size()
            : bin.size();
    // More than fit: its owner was replacing the array.
    if (blocks != 0 && blocks <= kMostBinSlots) visit(id, blocks);
  }
}

inline std::size_t cached_bytes(const ThreadCache& cache) {
  std::size_t bytes = 0;
  for_each_cached(cache, [&](std::uint8_t id, std::uint32_t blocks) {
    bytes += std::size_t{blocks} * kClasses[id].slot_bytes;
  });
  return bytes;
}

template <OsLayer Os, class Large>
CARREL_COLD void gather_stats(HeapStats& stats, Shards<Os>& shards, ThreadRegistry<Os>& registry,
                              const Large& large, const SpanCache<Os>& spans, SpanPool<Os>& pool,
                              const MetadataArena<Os>& metadata) {
  registry.for_each([&](const ThreadCache& cache) {
    ++stats.threads;
    for_each_cached(cache, [&](std::uint8_t id, std::uint32_t blocks) {
      stats.classes[id].cached_slots += blocks;
    });
  });
  shards.for_each_bin([&](SlabBin<Os>& bin, std::uint8_t id) {
    const BinTotals totals = bin.totals();
    ClassStats& of_class = stats.classes[id];
    of_class.slabs += totals.slabs;
    of_class.used_slots += totals.used_slots;
    of_class.refills += totals.refills;
    of_class.flushes += totals.flushes;
    of_class.remote_slots += totals.remote_slots;
    of_class.contended += totals.contended;
  });
  for (std::uint8_t id = 1; id <= kClassCount; ++id) {
    ClassStats& of_class = stats.classes[id];
    const ClassInfo& info = kClasses[id];
    if (of_class.cached_slots > of_class.used_slots) of_class.cached_slots = of_class.used_slots;
    const std::size_t live = of_class.used_slots - of_class.cached_slots;
    stats.live_blocks += live;
    stats.live_bytes += live * info.slot_bytes;
    stats.cached_bytes += of_class.cached_slots * info.slot_bytes;
    stats.slab_bytes += of_class.slabs * info.granules * kGranuleBytes;
  }
  stats.cached_bytes += spans.granules() << kGranuleShift;
  stats.large_blocks = large.count();
  stats.large_bytes = large.bytes();
  stats.live_blocks += stats.large_blocks;
  stats.live_bytes += stats.large_bytes;
  const PoolTotals totals = pool.totals();
  stats.heap_bytes = totals.added << kGranuleShift;
  stats.free_bytes = totals.free << kGranuleShift;
  stats.touched_bytes = totals.touched << kGranuleShift;
  stats.purged_bytes = (totals.purged << kGranuleShift) +
                       shards.context().holes_purged_bytes.load(std::memory_order_relaxed);
  stats.metadata_bytes = metadata.mapped_bytes();
  stats.events = pool.events();
}

/// Fills `count` entries, at most as many as there are shards.
template <OsLayer Os>
void gather_shard_stats(ShardStats* stats, std::uint32_t count, Shards<Os>& shards,
                        ThreadRegistry<Os>& registry) {
  if (count > shards.count()) count = shards.count();
  for (std::uint32_t shard = 0; shard < count; ++shard) {
    ShardStats& of_shard = stats[shard] = ShardStats{};
    for (std::uint8_t id = 1; id <= kClassCount; ++id) {
      const BinTotals totals = shards.bin(shard, id).totals();
      of_shard.slabs += totals.slabs;
      of_shard.slab_bytes += totals.slabs * kClasses[id].granules * kGranuleBytes;
      of_shard.used_bytes += totals.used_slots * kClasses[id].slot_bytes;
      of_shard.refills += totals.refills;
      of_shard.flushes += totals.flushes;
      of_shard.remote_slots += totals.remote_slots;
      of_shard.contended += totals.contended;
    }
  }
  registry.for_each([&](const ThreadCache& cache) {
    if (cache.shard >= count) return;
    ++stats[cache.shard].threads;
    stats[cache.shard].cached_bytes += cached_bytes(cache);
  });
}

/// Calls visit(start, bytes) for each piece of address space that holds blocks or may.
template <OsLayer Os, class Visit>
void for_each_block_range(const PageMap<Os>& map, Visit visit) {
  const std::size_t count = map.granule_count();
  if (map.reserved_at_once()) {
    if (count != 0) visit(map.address(0), count << kGranuleShift);
    return;
  }
  for (std::size_t i = 0; i < count;) {
    const Span* span = map.granule(i).span;
    const bool starts = span != nullptr && span->state != SpanState::kUnused && span->first == i &&
                        span->count != 0;
    if (starts) visit(map.address(i), std::size_t{span->count} << kGranuleShift);
    i += starts ? span->count : 1;
  }
}

/// The same for carrel's own records.
template <OsLayer Os, class Visit>
void for_each_metadata_range(const PageMap<Os>& map, const Shards<Os>& shards,
                             const MetadataArena<Os>& metadata, Visit visit) {
  map.for_each_table(visit);
  shards.for_each_table(visit);
  metadata.for_each_chunk(visit);
}

}  // namespace carrel::core
