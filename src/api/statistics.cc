// Statistics of the process's heap as structures; see statistics.h. How they are written is in
// statistics_text.cc.
#include "api/statistics.h"

#include <string.h>

#include "api/instance.h"
#include "api/profile.h"
#include "api/shortage.h"

namespace carrel::core {

constinit std::atomic<const ArenaReports*> arena_reports{nullptr};

void process_stats(HeapStats& stats) {
  if (!process_heap.ready()) return;
  gather_stats(stats, process_heap.shards(), process_heap.registry(), process_heap.large(),
               process_heap.spans(), process_heap.pool(), process_heap.metadata());
}

namespace {

void ask_system(carrel_stats& stats) {
  stats.huge_bytes = ProcessOs::huge_page_bytes([](std::uintptr_t address) {
    const std::size_t index = process_heap.map().index_of(address);
    return index < process_heap.map().granule_count() &&
           (process_heap.map().reserved_at_once() ||
            process_heap.map().granule(index).span != nullptr);
  });
  for_each_block_range(process_heap.map(), [&](const char* start, std::size_t bytes) {
    stats.resident_bytes += ProcessOs::resident_bytes(start, bytes);
  });
  for_each_metadata_range(process_heap.map(), process_heap.shards(), process_heap.metadata(),
                          [&](const char* start, std::size_t bytes) {
                            stats.metadata_resident_bytes +=
                                ProcessOs::resident_bytes(start, bytes);
                          });
}

}  // namespace

void fill_stats(carrel_stats& stats, bool resident) {
  stats = {};
  if (!process_heap.ready()) return;
  HeapStats heap;
  process_stats(heap);
  stats.live_bytes = heap.live_bytes;
  stats.live_blocks = heap.live_blocks;
  stats.cached_bytes = heap.cached_bytes;
  stats.active_bytes = heap.heap_bytes > heap.free_bytes ? heap.heap_bytes - heap.free_bytes : 0;
  stats.slab_bytes = heap.slab_bytes;
  stats.large_bytes = heap.large_bytes;
  stats.large_blocks = heap.large_blocks;
  // Blocks with pages of their own, as large ones have.
  const GuardedTotals guarded = process_heap.guarded_slots().totals();
  stats.live_bytes += guarded.live_page_bytes;
  stats.live_blocks += guarded.live_blocks;
  stats.large_bytes += guarded.live_page_bytes;
  stats.large_blocks += guarded.live_blocks;
  stats.mapped_bytes = heap.heap_bytes;
  stats.free_bytes = heap.free_bytes;
  stats.touched_bytes = heap.touched_bytes;
  stats.untouched_bytes =
      heap.free_bytes > heap.touched_bytes ? heap.free_bytes - heap.touched_bytes : 0;
  stats.purged_bytes = heap.purged_bytes;
  stats.purges = heap.events.purges;
  for (const ClassStats& of_class : heap.classes) {
    stats.refills += of_class.refills;
    stats.flushes += of_class.flushes;
    stats.remote_frees += of_class.remote_slots;
    stats.contended += of_class.contended;
  }
  stats.contended += heap.events.contended;
  stats.spans = heap.events.allocated;
  stats.extensions = heap.events.extensions;
  stats.threads = heap.threads;
  stats.shards = process_heap.shards().count();
  stats.used_bytes = process_heap.pool().used_granules() << kGranuleShift;
  stats.refusals = shortage_totals.refusals.load(std::memory_order_relaxed);
  stats.retries = shortage_totals.retries.load(std::memory_order_relaxed);
  if (const ArenaReports* arenas = arena_reports.load(std::memory_order_acquire)) {
    ArenaTotals sum;
    stats.arenas = arenas->totals(sum);
    stats.arena_bytes = sum.span_bytes + sum.free_bytes;
    stats.live_bytes += sum.live_bytes;
    stats.live_blocks += sum.live_blocks;
  }
  ArenaTotals sampled;
  add_sampled_blocks(sampled);
  stats.slab_bytes += sampled.span_bytes;
  stats.live_bytes += sampled.live_bytes;
  stats.live_blocks += sampled.live_blocks;
  for_each_metadata_range(process_heap.map(), process_heap.shards(), process_heap.metadata(),
                          [&](const char*, std::size_t bytes) { stats.metadata_bytes += bytes; });
  if (resident) ask_system(stats);
}

}  // namespace carrel::core

namespace core = carrel::core;

extern "C" {

carrel_result carrel_stats_read(carrel_stats* stats, size_t size) {
  if (stats == nullptr) return CARREL_BAD_ARGUMENT;
  carrel_stats now;
  core::fill_stats(now, true);
  memcpy(stats, &now, size < sizeof now ? size : sizeof now);
  if (size > sizeof now) memset(reinterpret_cast<char*>(stats) + sizeof now, 0, size - sizeof now);
  return CARREL_OK;
}

size_t carrel_stats_classes(carrel_class_stats* classes, size_t count) {
  if (classes == nullptr || count == 0) return core::kClassCount;
  core::HeapStats stats;
  core::process_stats(stats);
  for (size_t i = 0; i < count && i < core::kClassCount; ++i) {
    const core::ClassStats& from = stats.classes[i + 1];
    const core::ClassInfo& info = core::kClasses[i + 1];
    classes[i] = {.block_bytes = info.slot_bytes,
                  .slabs = from.slabs,
                  .slots = from.slabs * info.slots,
                  .live_blocks = from.used_slots - from.cached_slots,
                  .cached_blocks = from.cached_slots,
                  .refills = from.refills,
                  .flushes = from.flushes,
                  .remote_frees = from.remote_slots,
                  .contended = from.contended};
  }
  return core::kClassCount;
}

size_t carrel_stats_shards(carrel_shard_stats* shards, size_t count) {
  if (!core::process_heap.ready()) return 0;
  const size_t all = core::process_heap.shards().count();
  if (shards == nullptr || count == 0) return all;
  core::ShardStats stats[core::kMaxShardsShown];
  if (count > core::kMaxShardsShown) count = core::kMaxShardsShown;
  core::gather_shard_stats(stats, static_cast<std::uint32_t>(count), core::process_heap.shards(),
                           core::process_heap.registry());
  for (size_t i = 0; i < count && i < all; ++i) {
    const core::ShardStats& from = stats[i];
    shards[i] = {.threads = from.threads,
                 .slabs = from.slabs,
                 .slab_bytes = from.slab_bytes,
                 .used_bytes = from.used_bytes,
                 .cached_bytes = from.cached_bytes,
                 .refills = from.refills,
                 .flushes = from.flushes,
                 .remote_frees = from.remote_slots,
                 .contended = from.contended};
  }
  return all;
}

}  // extern "C"
