// The heap's numbers: gathered on demand from the parts, at the cost of a few locks.
//
// Each number is exact at the moment its part was asked; together they may be off by what
// other threads did meanwhile. Thread-safe.
#pragma once

#include "cache/thread_registry.h"
#include "heap/large_objects.h"

namespace carrel::core {

/// One size class over all shards.
struct ClassStats {
  std::size_t slabs = 0;
  std::size_t used_slots = 0;    // live or cached
  std::size_t cached_slots = 0;  // in thread caches
};

/// All sizes in bytes.
struct HeapStats {
  ClassStats classes[kClassCount + 1];
  std::size_t live_bytes = 0;  // in the program's hands, rounded to slots and pages
  std::size_t live_blocks = 0;
  std::size_t cached_bytes = 0;  // in thread caches
  std::size_t slab_bytes = 0;    // address space of all slabs
  std::size_t large_blocks = 0;
  std::size_t large_bytes = 0;
  std::size_t heap_bytes = 0;     // added to the heap so far
  std::size_t free_bytes = 0;     // in the span pool
  std::size_t touched_bytes = 0;  // of these, perhaps resident
  std::size_t purged_bytes = 0;   // given back so far
  std::size_t metadata_bytes = 0;
  std::size_t threads = 0;
};

template <OsLayer Os, class Large>
void gather_stats(HeapStats& stats, Shards<Os>& shards, ThreadRegistry<Os>& registry,
                  const Large& large, const SpanPool<Os>& pool, const MetadataArena<Os>& metadata) {
  registry.for_each([&](const ThreadCache& cache) {
    ++stats.threads;
    for (std::uint32_t index = 0; index < kCacheBinCount; ++index) {
      const std::uint8_t id = plain_class(static_cast<std::uint8_t>(index));
      if (id == 0 || id > kClassCount) continue;
      stats.classes[id].cached_slots += cache.bins[index].size();
    }
  });
  shards.for_each_bin([&](SlabBin<Os>& bin, std::uint8_t id) {
    const BinTotals totals = bin.totals();
    stats.classes[id].slabs += totals.slabs;
    stats.classes[id].used_slots += totals.used_slots;
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
  stats.large_blocks = large.count();
  stats.large_bytes = large.bytes();
  stats.live_blocks += stats.large_blocks;
  stats.live_bytes += stats.large_bytes;
  const PoolTotals totals = pool.totals();
  stats.heap_bytes = totals.added << kGranuleShift;
  stats.free_bytes = totals.free << kGranuleShift;
  stats.touched_bytes = totals.touched << kGranuleShift;
  stats.purged_bytes = totals.purged << kGranuleShift;
  stats.metadata_bytes = metadata.mapped_bytes();
}

}  // namespace carrel::core
