// The constant that tells tools outside of the process where the heap's records are; what it means
// is in include/carrel/heap_layout.hpp. Compiled from the types themselves, so that it cannot
// disagree with them. Nothing here runs.
#include <carrel/carrel.h>
#include <carrel/heap_layout.hpp>

#include <cstddef>

#include "api/instance.h"
#include "api/profile.h"
#include "api/shortage.h"
#include "api/statistics.h"
#include "heap/arena_set.h"
#include "heap/profiler.h"

// Offsets into classes with references and private parts: compilers support them, the standard
// leaves that to them.
#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace carrel::core {

static_assert(static_cast<int>(HeapSpanState::kFree) == static_cast<int>(SpanState::kFree));
static_assert(static_cast<int>(HeapSpanState::kPurging) == static_cast<int>(SpanState::kPurging));
static_assert(static_cast<int>(HeapSpanState::kLarge) == static_cast<int>(SpanState::kLarge));
static_assert(static_cast<int>(HeapSpanState::kKept) == static_cast<int>(SpanState::kKept));
static_assert(static_cast<int>(HeapSpanState::kSlab) == static_cast<int>(SpanState::kSlab));
static_assert(kMapNothing == kNotOurs && kMapGuarded == kGuardedBlock);
static_assert(kMapSampled == kSampledBlock && kMapArena == kArenaBlock);
static_assert(kMapLarge == kLargeBlock);
static_assert(kHeapNoShard == kNoShard);
static_assert(kCacheBinCount <= HeapLayout::kMaxCacheBins);

/// A friend of what it measures.
struct HeapLayoutTable {
  using Os = ProcessHeap::Os;
  using Map = PageMap<Os>;
  using Metadata = MetadataArena<Os>;
  using Pool = SpanPool<Os>;
  using Context = SlabContext<Os>;
  using AllShards = Shards<Os>;
  using ShardRow = AllShards::Row;
  using Bin = SlabBin<Os>;
  using Registry = ThreadRegistry<Os>;
  using Large = LargeBlocks<Os>;  // the first base of each build's own
  using Set = ArenaSet<Os>;
  using OneArena = Arena<Os>;

  template <class... Offsets>
  static consteval std::uint32_t at(Offsets... offsets) {
    return static_cast<std::uint32_t>((offsets + ...));
  }

  /// A template, so that the default build need not have the slots.
  template <class Heap>
  static consteval void add_guarded(HeapLayout::Heap& layout) {
    if constexpr (Heap::kHard.guarded_slots != 0) {
      using Slots = GuardedSlots<Os>;
      const std::size_t slots = offsetof(Heap, slots_);
      layout.guarded_slots = at(slots, offsetof(Slots, slots_));
      layout.guarded_made = at(slots, offsetof(Slots, made_));
      layout.guarded_blocks = at(slots, offsetof(Slots, live_blocks_));
      layout.guarded_bytes = at(slots, offsetof(Slots, live_page_bytes_));
    }
  }

  static consteval HeapLayout::Heap heap() {
    const std::size_t map = offsetof(ProcessHeap, map_);
    const std::size_t metadata = offsetof(ProcessHeap, metadata_);
    const std::size_t pool = offsetof(ProcessHeap, pool_);
    const std::size_t shards = offsetof(ProcessHeap, shards_);
    const std::size_t registry = offsetof(ProcessHeap, registry_);
    const std::size_t spans = offsetof(ProcessHeap, spans_);
    const std::size_t large = offsetof(ProcessHeap, large_);
    const std::size_t events = pool + offsetof(Pool, events_);
    HeapLayout::Heap layout = {
        .bytes = at(sizeof(ProcessHeap)),
        .state = at(offsetof(ProcessHeap, state_)),
        .ready = ProcessHeap::kReady,
        .base = at(map, offsetof(Map, base_)),
        .granule_count = at(map, offsetof(Map, granule_count_)),
        .class_map = at(map, offsetof(Map, class_map_)),
        .granules = at(map, offsetof(Map, granules_)),
        .records = at(map, offsetof(Map, records_)),
        .granule_records = Map::kHasRecords ? at(Map::kGranuleRecords) : 0,
        .reserved = at(map, offsetof(Map, reserved_)),
        .chunks = at(metadata, offsetof(Metadata, chunks_)),
        .next_record = at(metadata, offsetof(Metadata, next_)),
        .rows = at(shards, offsetof(AllShards, rows_)),
        .shard_count = at(shards, offsetof(AllShards, count_)),
        .caches = at(registry, offsetof(Registry, caches_)),
        .cache_count = at(registry, offsetof(Registry, count_)),
        .gone_blocks = at(spans, offsetof(SpanCache<Os>, gone_blocks_)),
        .gone_bytes = at(spans, offsetof(SpanCache<Os>, gone_bytes_)),
        .large_blocks = at(large, offsetof(Large, count_)),
        .large_bytes = at(large, offsetof(Large, bytes_)),
        .pool = at(pool),
        .added = at(pool, offsetof(Pool, added_granules_)),
        .free = at(pool, offsetof(Pool, free_granules_)),
        .touched = at(pool, offsetof(Pool, touched_granules_)),
        .purged = at(pool, offsetof(Pool, purged_granules_)),
        .holes_purged = at(offsetof(ProcessHeap, context_), offsetof(Context, holes_purged_bytes)),
        .allocated = at(events, offsetof(PoolEvents, allocated)),
        .extensions = at(events, offsetof(PoolEvents, extensions)),
        .purges = at(events, offsetof(PoolEvents, purges)),
        .contended = at(events, offsetof(PoolEvents, contended)),
        .guarded_slots = 0,
        .guarded_made = 0,
        .guarded_blocks = 0,
        .guarded_bytes = 0};
    add_guarded<ProcessHeap>(layout);
    return layout;
  }

  static consteval HeapLayout::Cache cache() {
    const std::size_t kept = offsetof(ThreadCache, kept);
    HeapLayout::Cache cache = {.bytes = at(sizeof(ThreadCache)),
                               .next = at(offsetof(ThreadCache, next)),
                               .shard = at(offsetof(ThreadCache, shard)),
                               .bins = at(offsetof(ThreadCache, bins)),
                               .kept_granules = at(kept, offsetof(KeptSpans, granules_)),
                               .taken_granules = at(kept, offsetof(KeptSpans, taken_granules_)),
                               .large_blocks = at(kept, offsetof(KeptSpans, blocks)),
                               .large_bytes = at(kept, offsetof(KeptSpans, bytes)),
                               .bin_count = kCacheBinCount,
                               .most_slots = kMostBinSlots,
                               .raised_bin = at(offsetof(ThreadCache, raised_bin)),
                               .true_floor = at(offsetof(ThreadCache, true_floor)),
                               .bin_class = {}};
    for (std::uint32_t bin = 0; bin < kCacheBinCount; ++bin) {
      const std::uint8_t id = class_of_bin(bin);
      cache.bin_class[bin] = id <= kClassCount ? id : 0;
    }
    return cache;
  }

  static constexpr HeapLayout make() {
    HeapLayout layout = {
        .magic = {},
        .version = HeapLayout::kVersion,
        .bytes = sizeof(HeapLayout),
        .library = {CARREL_VERSION_MAJOR, CARREL_VERSION_MINOR, CARREL_VERSION_PATCH},
        .heap = &process_heap,
        .classes = &kClasses,
        .arenas = &arena_reports,
        .profiler = &the_profiler,
        .shortage = &shortage_totals,
        .granule_bytes = kGranuleBytes,
        .class_count = kClassCount,
        .hardened = ProcessHeap::kHard.check_frees ? 1 : 0,
        .in_heap = heap(),
        .in_granule = {.bytes = sizeof(Granule), .span = offsetof(Granule, span)},
        .in_span = {.bytes = sizeof(Span),
                    .first = offsetof(Span, first),
                    .count = offsetof(Span, count),
                    .state = offsetof(Span, state),
                    .size_class = offsetof(Span, size_class),
                    .shard = offsetof(Span, shard),
                    .large_bytes = offsetof(Span, large_bytes),
                    .free_slots = offsetof(Span, free_slots),
                    .arena = offsetof(Span, arena),
                    .free_bits = offsetof(Span, free_bits)},
        .in_chunk = {.next = offsetof(Metadata::Chunk, next),
                     .size = offsetof(Metadata::Chunk, bytes)},
        .in_row = {.bytes = sizeof(ShardRow)},
        .in_bin = {.bytes = sizeof(Bin),
                   .slabs = offsetof(Bin, slabs_),
                   .contended = offsetof(Bin, contended_),
                   .used_slots = offsetof(Bin, used_slots_),
                   .refills = offsetof(Bin, refills_),
                   .flushes = offsetof(Bin, flushes_),
                   .taken_slots = offsetof(Bin, taken_slots_),
                   .remote_slots = offsetof(Bin, remote_slots_)},
        .in_cache = cache(),
        .in_cache_bin = {.bytes = sizeof(CacheBin),
                         .top = offsetof(CacheBin, top),
                         .floor = offsetof(CacheBin, floor)},
        .in_class = {.bytes = sizeof(ClassInfo),
                     .slot_bytes = offsetof(ClassInfo, slot_bytes),
                     .granules = offsetof(ClassInfo, granules),
                     .slots = offsetof(ClassInfo, slots)},
        .in_arenas = {.set = offsetof(ArenaReports, set),
                      .table = offsetof(Set, table_),
                      .made = offsetof(Set, made_),
                      .count = offsetof(Set, count_)},
        .in_arena = {.bytes = sizeof(OneArena),
                     .in_use = offsetof(OneArena, in_use_),
                     .live_bytes = offsetof(OneArena, live_bytes_),
                     .live_blocks = offsetof(OneArena, live_blocks_),
                     .span_bytes = offsetof(OneArena, span_bytes_),
                     .pool = offsetof(OneArena, pool_)},
        .in_guarded_slot = {.bytes = sizeof(GuardedSlot),
                            .state = offsetof(GuardedSlot, state),
                            .live = GuardedSlot::kLive,
                            .block = offsetof(GuardedSlot, block),
                            .size = offsetof(GuardedSlot, size),
                            .page_bytes = offsetof(GuardedSlot, page_bytes)},
        .in_shortage = {.refusals = offsetof(ShortageTotals, refusals),
                        .retries = offsetof(ShortageTotals, retries)},
        .in_profiler = {.arena = offsetof(Profiler<Os>, arena_)},
    };
    for (std::size_t i = 0; i < sizeof layout.magic; ++i) layout.magic[i] = HeapLayout::kMagic[i];
    return layout;
  }
};
static_assert(offsetof(HeapLayoutTable::ShardRow, bins) == 0);

extern "C" {
/// The note in instance.cc leads here.
[[gnu::visibility("hidden")]] extern const HeapLayout carrel_heap_layout;
[[gnu::used]] constinit const HeapLayout carrel_heap_layout = HeapLayoutTable::make();
}

}  // namespace carrel::core
