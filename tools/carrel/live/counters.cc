// The sums of heap/stats.h and api/statistics.cc, over copied records.
#include "live/counters.h"

#include <algorithm>

namespace carrel::tools {

namespace {

class Reader {
 public:
  explicit Reader(const LiveHeap& live) : live_(live), heap_(live.read_heap()) {}

  HeapCounters read(bool resident) {
    read_threads();
    read_bins();
    sum_classes();
    read_heap();
    read_arenas();
    read_sampled();
    for (const auto& range : live_.record_ranges(heap_)) totals_.metadata_bytes += range.bytes;
    if (resident) ask_system();
    out_.rss_bytes = live_.target().rss_bytes();
    return std::move(out_);
  }

 private:
  const HeapLayout& layout() const { return live_.layout(); }
  std::uint64_t of_heap(std::uint32_t offset) const { return live_.field(heap_, offset); }

  void read_threads() {
    cached_.assign(live_.classes().size(), 0);
    for (const Copied& cache : live_.thread_caches(heap_)) {
      ThreadCounters thread;
      thread.shard = cache.at<std::uint32_t>(layout().in_cache.shard);
      live_.for_each_cached(cache, [&](std::uint8_t id, std::uint64_t, std::uint64_t blocks) {
        cached_[id] += blocks;
        thread.cached_bytes += blocks * live_.classes()[id].slot_bytes;
      });
      const HeapLayout::Cache& in = layout().in_cache;
      totals_.cached_bytes += layout().granule_bytes * (cache.at<std::uint64_t>(in.kept_granules) -
                                                        cache.at<std::uint64_t>(in.taken_granules));
      totals_.large_blocks += cache.at<std::uint64_t>(in.large_blocks);
      totals_.large_bytes += cache.at<std::uint64_t>(in.large_bytes);
      out_.threads.push_back(thread);
    }
  }

  void read_bins() {
    const HeapLayout::Bin& in = layout().in_bin;
    out_.classes.resize(layout().class_count);
    Copied rows;
    const auto shards = heap_.at<std::uint32_t>(layout().in_heap.shard_count);
    live_.target().copy(of_heap(layout().in_heap.rows), std::size_t{shards} * layout().in_row.bytes,
                        rows);
    for (std::uint32_t shard = 0; shard < shards; ++shard) {
      carrel_shard_stats of_shard = {};
      for (std::uint32_t id = 1; id <= layout().class_count; ++id) {
        const std::size_t bin =
            std::size_t{shard} * layout().in_row.bytes + std::size_t{id - 1} * in.bytes;
        const SlotClass& info = live_.classes()[id];
        const std::uint64_t slabs = rows.at<std::uint32_t>(bin + in.slabs);
        const auto used = rows.at<std::uint64_t>(bin + in.used_slots);
        carrel_class_stats& of_class = out_.classes[id - 1];
        of_class.slabs += slabs;
        of_class.live_blocks += used;  // cached ones are taken off later
        of_shard.slabs += slabs;
        of_shard.slab_bytes += slabs * info.slab_bytes;
        of_shard.used_bytes += used * info.slot_bytes;
        const auto add = [&](auto member_of_class, auto member_of_shard, std::uint64_t value) {
          of_class.*member_of_class += value;
          of_shard.*member_of_shard += value;
        };
        add(&carrel_class_stats::refills, &carrel_shard_stats::refills,
            rows.at<std::uint64_t>(bin + in.refills));
        add(&carrel_class_stats::flushes, &carrel_shard_stats::flushes,
            rows.at<std::uint64_t>(bin + in.flushes));
        add(&carrel_class_stats::remote_frees, &carrel_shard_stats::remote_frees,
            rows.at<std::uint64_t>(bin + in.remote_slots));
        add(&carrel_class_stats::contended, &carrel_shard_stats::contended,
            rows.at<std::uint32_t>(bin + in.contended));
      }
      for (const ThreadCounters& thread : out_.threads) {
        if (thread.shard != shard) continue;
        ++of_shard.threads;
        of_shard.cached_bytes += thread.cached_bytes;
      }
      out_.shards.push_back(of_shard);
    }
  }

  void sum_classes() {
    for (std::uint32_t id = 1; id <= layout().class_count; ++id) {
      carrel_class_stats& of_class = out_.classes[id - 1];
      const SlotClass& info = live_.classes()[id];
      of_class.block_bytes = info.slot_bytes;
      of_class.slots = of_class.slabs * info.slots;
      of_class.cached_blocks = std::min(cached_[id], of_class.live_blocks);
      of_class.live_blocks -= of_class.cached_blocks;
      totals_.live_blocks += of_class.live_blocks;
      totals_.live_bytes += of_class.live_blocks * info.slot_bytes;
      totals_.cached_bytes += of_class.cached_blocks * info.slot_bytes;
      totals_.slab_bytes += of_class.slabs * info.slab_bytes;
      totals_.refills += of_class.refills;
      totals_.flushes += of_class.flushes;
      totals_.remote_frees += of_class.remote_frees;
      totals_.contended += of_class.contended;
    }
  }

  void read_heap() {
    const HeapLayout::Heap& in = layout().in_heap;
    const std::uint64_t granule = layout().granule_bytes;
    totals_.large_blocks += of_heap(in.large_blocks) + of_heap(in.gone_blocks);
    totals_.large_bytes += of_heap(in.large_bytes) + of_heap(in.gone_bytes);
    read_guarded();
    totals_.live_blocks += totals_.large_blocks;
    totals_.live_bytes += totals_.large_bytes;
    totals_.mapped_bytes = of_heap(in.added) * granule;
    totals_.free_bytes = std::min(of_heap(in.free) * granule, totals_.mapped_bytes);
    totals_.touched_bytes = std::min(of_heap(in.touched) * granule, totals_.free_bytes);
    totals_.untouched_bytes = totals_.free_bytes - totals_.touched_bytes;
    totals_.active_bytes = totals_.mapped_bytes - totals_.free_bytes;
    totals_.used_bytes = totals_.active_bytes + totals_.touched_bytes;
    totals_.purged_bytes = of_heap(in.purged) * granule + of_heap(in.holes_purged);
    totals_.purges = of_heap(in.purges);
    totals_.spans = of_heap(in.allocated);
    totals_.extensions = of_heap(in.extensions);
    totals_.contended += heap_.at<std::uint32_t>(in.contended);
    const auto shortage = reinterpret_cast<std::uint64_t>(layout().shortage);
    live_.target().read_value(shortage + layout().in_shortage.refusals, totals_.refusals);
    live_.target().read_value(shortage + layout().in_shortage.retries, totals_.retries);
    totals_.threads = out_.threads.size();
    totals_.shards = out_.shards.size();
  }

  // They have pages of their own, as large blocks have, and count for such.
  void read_guarded() {
    const HeapLayout::Heap& in = layout().in_heap;
    if (in.guarded_slots == 0) return;
    out_.guarded_blocks = of_heap(in.guarded_blocks);
    out_.guarded_bytes = of_heap(in.guarded_bytes);
    totals_.large_blocks += out_.guarded_blocks;
    totals_.large_bytes += out_.guarded_bytes;
  }

  bool read_arena(std::uint64_t address, ArenaCounters& arena) const {
    const HeapLayout::Arena& in = layout().in_arena;
    Copied record;
    if (!live_.target().copy(address, in.bytes, record) || !record.at<bool>(in.in_use)) {
      return false;
    }
    arena.live_bytes = record.at<std::uint64_t>(in.live_bytes);
    arena.live_blocks = record.at<std::uint64_t>(in.live_blocks);
    arena.active_bytes = record.at<std::uint64_t>(in.span_bytes);
    const HeapLayout::Heap& in_heap = layout().in_heap;
    const auto pool = record.at<std::uint64_t>(in.pool);
    std::uint64_t free = 0;
    if (pool != heap_.address + in_heap.pool &&
        live_.target().read_value(pool + (in_heap.free - in_heap.pool), free)) {
      arena.free_bytes = free * layout().granule_bytes;
    }
    return true;
  }

  std::uint64_t pointer_at(std::uint64_t address) const {
    std::uint64_t value = 0;
    return address != 0 && live_.target().read_value(address, value) ? value : 0;
  }

  void read_arenas() {
    const HeapLayout::Arenas& in = layout().in_arenas;
    const std::uint64_t reports = pointer_at(reinterpret_cast<std::uint64_t>(layout().arenas));
    const std::uint64_t set = reports == 0 ? 0 : pointer_at(pointer_at(reports + in.set));
    if (set == 0) return;
    std::uint32_t made = 0;
    live_.target().read_value(set + in.made, made);
    std::vector<std::uint64_t> table(made);
    if (made == 0 ||
        !live_.target().read(pointer_at(set + in.table), table.data(), made * sizeof table[0])) {
      return;
    }
    for (std::uint32_t number = 0; number < made; ++number) {
      ArenaCounters arena = {.number = number};
      if (!read_arena(table[number], arena)) continue;
      totals_.live_bytes += arena.live_bytes;
      totals_.live_blocks += arena.live_blocks;
      totals_.arena_bytes += arena.active_bytes + arena.free_bytes;
      out_.arenas.push_back(arena);
    }
    totals_.arenas = out_.arenas.size();
  }

  // Blocks in a heap profile have slabs of their own.
  void read_sampled() {
    const std::uint64_t profiler = pointer_at(reinterpret_cast<std::uint64_t>(layout().profiler));
    ArenaCounters sampled;
    if (profiler == 0 || !read_arena(profiler + layout().in_profiler.arena, sampled)) return;
    totals_.live_bytes += sampled.live_bytes;
    totals_.live_blocks += sampled.live_blocks;
    totals_.slab_bytes += sampled.active_bytes;
  }

  void ask_system() {
    out_.resident_known = true;
    const auto add = [&](const std::vector<LiveHeap::Range>& ranges, std::uint64_t& sum) {
      for (const auto& range : ranges) {
        std::uint64_t bytes = 0;
        if (!live_.target().resident(range.start, range.bytes, bytes)) out_.resident_known = false;
        sum += bytes;
      }
    };
    add(live_.block_ranges(heap_), totals_.resident_bytes);
    add(live_.record_ranges(heap_), totals_.metadata_resident_bytes);
  }

  const LiveHeap& live_;
  Copied heap_;
  HeapCounters out_;
  carrel_stats& totals_ = out_.totals;
  std::vector<std::uint64_t> cached_;  // by class
};

}  // namespace

HeapCounters read_counters(const LiveHeap& heap, bool resident) {
  return Reader(heap).read(resident);
}

const std::vector<TotalField>& total_fields() {
  static const std::vector<TotalField> fields = {
      {"live_bytes", &carrel_stats::live_bytes, false},
      {"live_blocks", &carrel_stats::live_blocks, false},
      {"cached_bytes", &carrel_stats::cached_bytes, false},
      {"active_bytes", &carrel_stats::active_bytes, false},
      {"slab_bytes", &carrel_stats::slab_bytes, false},
      {"large_bytes", &carrel_stats::large_bytes, false},
      {"large_blocks", &carrel_stats::large_blocks, false},
      {"mapped_bytes", &carrel_stats::mapped_bytes, false},
      {"free_bytes", &carrel_stats::free_bytes, false},
      {"touched_bytes", &carrel_stats::touched_bytes, false},
      {"untouched_bytes", &carrel_stats::untouched_bytes, false},
      {"resident_bytes", &carrel_stats::resident_bytes, false},
      {"metadata_bytes", &carrel_stats::metadata_bytes, false},
      {"metadata_resident_bytes", &carrel_stats::metadata_resident_bytes, false},
      {"purged_bytes", &carrel_stats::purged_bytes, true},
      {"purges", &carrel_stats::purges, true},
      {"refills", &carrel_stats::refills, true},
      {"flushes", &carrel_stats::flushes, true},
      {"remote_frees", &carrel_stats::remote_frees, true},
      {"contended", &carrel_stats::contended, true},
      {"spans", &carrel_stats::spans, true},
      {"extensions", &carrel_stats::extensions, true},
      {"refusals", &carrel_stats::refusals, true},
      {"retries", &carrel_stats::retries, true},
      {"threads", &carrel_stats::threads, false},
      {"shards", &carrel_stats::shards, false},
      {"arena_bytes", &carrel_stats::arena_bytes, false},
      {"arenas", &carrel_stats::arenas, false},
      {"used_bytes", &carrel_stats::used_bytes, false}};
  return fields;
}

Json counters_json(const HeapCounters& counters) {
  Json totals = Json::object();
  for (const TotalField& field : total_fields()) {
    const bool asked = std::string(field.name).ends_with("resident_bytes");
    if (asked && !counters.resident_known) {
      totals[field.name] = nullptr;
    } else {
      totals[field.name] = counters.totals.*field.member;
    }
  }
  Json classes = Json::array();
  for (std::size_t i = 0; i < counters.classes.size(); ++i) {
    const carrel_class_stats& from = counters.classes[i];
    classes.push_back({{"class", i + 1},
                       {"block_bytes", from.block_bytes},
                       {"slabs", from.slabs},
                       {"slots", from.slots},
                       {"live_blocks", from.live_blocks},
                       {"cached_blocks", from.cached_blocks},
                       {"refills", from.refills},
                       {"flushes", from.flushes},
                       {"remote_frees", from.remote_frees},
                       {"contended", from.contended}});
  }
  Json shards = Json::array();
  for (std::size_t i = 0; i < counters.shards.size(); ++i) {
    const carrel_shard_stats& from = counters.shards[i];
    shards.push_back({{"shard", i},
                      {"threads", from.threads},
                      {"slabs", from.slabs},
                      {"slab_bytes", from.slab_bytes},
                      {"used_bytes", from.used_bytes},
                      {"cached_bytes", from.cached_bytes},
                      {"refills", from.refills},
                      {"flushes", from.flushes},
                      {"remote_frees", from.remote_frees},
                      {"contended", from.contended}});
  }
  Json threads = Json::array();
  for (const ThreadCounters& from : counters.threads) {
    threads.push_back({{"shard", from.shard}, {"cached_bytes", from.cached_bytes}});
  }
  Json arenas = Json::array();
  for (const ArenaCounters& from : counters.arenas) {
    arenas.push_back({{"arena", from.number},
                      {"live_bytes", from.live_bytes},
                      {"live_blocks", from.live_blocks},
                      {"active_bytes", from.active_bytes},
                      {"free_bytes", from.free_bytes}});
  }
  return {{"totals", totals},
          {"guarded",
           {{"live_blocks", counters.guarded_blocks}, {"live_bytes", counters.guarded_bytes}}},
          {"classes", classes},
          {"shards", shards},
          {"threads", threads},
          {"arenas", arenas}};
}

}  // namespace carrel::tools
