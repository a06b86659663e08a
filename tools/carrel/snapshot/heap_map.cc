// From copied records to the map, and what of it is in memory.
#include "snapshot/heap_map.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <fstream>
#include <sstream>

#include "base/clock.h"
#include "live/stop.h"
#include "snapshot/record_copy.h"

namespace carrel::tools {

namespace {

constexpr std::uint32_t kNoSpan = 0xFFFFFFFF;

class MapMaker {
 public:
  MapMaker(const LiveHeap& live, const RecordCopy& copy, HeapMap& map)
      : live_(live), copy_(copy), map_(map), layout_(live.layout()) {}

  void make() {
    map_.base = live_.field(copy_.heap(), layout_.in_heap.base);
    map_.granule_bytes = layout_.granule_bytes;
    map_.classes = live_.classes();
    span_at_.assign(copy_.granule_count(), kNoSpan);
    for (std::uint64_t granule = 0; granule < copy_.granule_count();) {
      granule += add_span(granule);
    }
    for (const std::uint64_t cache : copy_.thread_caches()) {
      mark_cached(copy_.record(cache, layout_.in_cache.bytes));
    }
    count_slots();
    add_guarded();
  }

  void ask_system(const Copied& heap) {
    map_.resident_known = true;
    for (const LiveHeap::Range& range : live_.block_ranges(heap)) {
      const std::uint64_t page = Target::page_bytes();
      const std::uint64_t before = (range.start - map_.base) / page;
      map_.resident_known &= live_.target().for_each_resident_run(
          range.start, range.bytes, [&](std::uint64_t first, std::uint64_t count) {
            for (std::uint64_t i = 0; i < count; ++i) add_page((before + first + i) * page, page);
          });
    }
    for (const LiveHeap::Range& range : live_.record_ranges(heap)) {
      std::uint64_t bytes = 0;
      map_.resident_known &= live_.target().resident(range.start, range.bytes, bytes);
      map_.record_bytes += range.bytes;
      map_.record_resident += bytes;
    }
  }

 private:
  template <class T>
  static T value(const std::byte* record, std::size_t offset) {
    return RecordCopy::value<T>(record, offset);
  }

  // Returns how many granules were dealt with.
  std::uint64_t add_span(std::uint64_t granule) {
    const HeapLayout::Span& in = layout_.in_span;
    const std::byte* record = copy_.find(copy_.span_of(granule), in.bytes);
    if (record == nullptr) return unknown(granule);
    const auto state = value<HeapSpanState>(record, in.state);
    const auto count = value<std::uint32_t>(record, in.count);
    if (state == HeapSpanState::kUnused || count == 0 ||
        value<std::uint32_t>(record, in.first) != granule ||
        count > copy_.granule_count() - granule) {
      return unknown(granule);
    }
    MappedSpan span;
    span.first = granule;
    span.granules = count;
    const std::uint8_t class_value = copy_.class_value(granule);
    if (class_value == kMapArena) {
      span.owner = Owner::kArena;
      span.owner_number = value<std::uint32_t>(record, in.arena);
    } else if (class_value == kMapSampled) {
      span.owner = Owner::kProfile;
    } else {
      span.owner_number = value<std::uint16_t>(record, in.shard);
    }
    if (class_value == kMapGuarded) {
      span.kind = SpanKind::kGuarded;
    } else if (state == HeapSpanState::kFree) {
      span.kind = SpanKind::kFree;
    } else if (state == HeapSpanState::kPurging) {
      // Out of the pool: to be given back, or as a freed large block behind a fence.
      span.kind = layout_.hardened != 0 ? SpanKind::kKept : SpanKind::kFree;
    } else if (state == HeapSpanState::kKept) {
      span.kind = SpanKind::kKept;
    } else if (state == HeapSpanState::kLarge) {
      add_large(span, record);
    } else if (!add_slab(span, record)) {
      return unknown(granule);
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      span_at_[granule + i] = static_cast<std::uint32_t>(map_.spans.size());
    }
    map_.spans.push_back(std::move(span));
    return count;
  }

  // A granule of no span, as where mappings are made one by one, or one that changed just then.
  std::uint64_t unknown(std::uint64_t granule) {
    if (!copy_.heap().at<bool>(layout_.in_heap.reserved)) return 1;
    if (!map_.spans.empty() && map_.spans.back().kind == SpanKind::kUnknown) {
      ++map_.spans.back().granules;
    } else {
      map_.spans.emplace_back();
      map_.spans.back().first = granule;
      map_.spans.back().granules = 1;
    }
    span_at_[granule] = static_cast<std::uint32_t>(map_.spans.size() - 1);
    return 1;
  }

  // In a hardened build the block begins behind a fence, where the class map says so. Nowhere does
  // it say so while the block is on its way in or out.
  void add_large(MappedSpan& span, const std::byte* record) const {
    span.kind = SpanKind::kKept;
    const std::uint64_t look = layout_.hardened != 0 ? span.granules : 1;
    for (std::uint64_t i = 0; i < look; ++i) {
      const std::uint8_t class_value = copy_.class_value(span.first + i);
      if (class_value != kMapLarge && class_value != kMapArena) continue;
      span.kind = SpanKind::kLarge;
      span.block_start = i * map_.granule_bytes;
      span.block_bytes = std::min(value<std::uint64_t>(record, layout_.in_span.large_bytes),
                                  (span.granules - i) * map_.granule_bytes);
      span.live = 1;
      return;
    }
  }

  bool add_slab(MappedSpan& span, const std::byte* record) {
    const HeapLayout::Span& in = layout_.in_span;
    span.kind = SpanKind::kSlab;
    span.size_class = value<std::uint8_t>(record, in.size_class);
    if (span.size_class == 0 || span.size_class >= map_.classes.size()) return false;
    span.slots = map_.classes[span.size_class].slots;
    const std::size_t words = (span.slots + 63) / 64;
    const std::byte* bits =
        copy_.find(value<std::uint64_t>(record, in.free_bits), words * sizeof(std::uint64_t));
    if (bits == nullptr) return false;
    span.free_bits.resize(words);
    std::memcpy(span.free_bits.data(), bits, words * sizeof(std::uint64_t));
    if (span.slots % 64 != 0) {
      span.free_bits.back() &= (std::uint64_t{1} << span.slots % 64) - 1;
    }
    std::uint32_t free = 0;
    for (const std::uint64_t word : span.free_bits) {
      free += static_cast<std::uint32_t>(std::popcount(word));
    }
    if (free != value<std::uint32_t>(record, in.free_slots)) ++map_.changed_slabs;
    span.live = span.slots - free;
    return true;
  }

  void mark_cached(const Copied& cache) {
    if (cache.bytes.empty()) return;
    live_.for_each_cached(cache, [&](std::uint8_t id, std::uint64_t floor, std::uint64_t count) {
      const std::byte* blocks = copy_.find(floor, count * sizeof(std::uint64_t));
      for (std::uint64_t i = 0; blocks != nullptr && i < count; ++i) {
        mark_block(id, value<std::uint64_t>(blocks, i * sizeof(std::uint64_t)));
      }
    });
  }

  void mark_block(std::uint8_t id, std::uint64_t block) {
    const std::uint64_t granule = (block - map_.base) / map_.granule_bytes;
    const std::uint32_t number = granule < span_at_.size() ? span_at_[granule] : kNoSpan;
    if (number == kNoSpan || map_.spans[number].kind != SpanKind::kSlab ||
        map_.spans[number].size_class != id) {
      ++map_.stray_blocks;
      return;
    }
    MappedSpan& span = map_.spans[number];
    const std::uint64_t slot = (block - map_.address(span)) / map_.classes[id].slot_bytes;
    if (slot >= span.slots || span.is_free(static_cast<std::uint32_t>(slot)) ||
        span.is_cached(static_cast<std::uint32_t>(slot))) {
      ++map_.stray_blocks;
      return;
    }
    if (span.cached_bits.empty()) span.cached_bits.resize(span.free_bits.size());
    span.cached_bits[slot / 64] |= std::uint64_t{1} << slot % 64;
  }

  void count_slots() {
    for (MappedSpan& span : map_.spans) {
      for (const std::uint64_t word : span.cached_bits) {
        span.cached += static_cast<std::uint32_t>(std::popcount(word));
      }
      span.live -= span.cached;
    }
  }

  void add_guarded() {
    const HeapLayout::Heap& in = layout_.in_heap;
    const HeapLayout::GuardedSlot& slot = layout_.in_guarded_slot;
    if (in.guarded_slots == 0) return;
    const std::size_t room = (copy_.heap().bytes.size() - in.guarded_slots) / sizeof(std::uint64_t);
    const std::size_t made = copy_.heap().at<std::uint32_t>(in.guarded_made);
    for (std::size_t i = 0; i < std::min(made, room); ++i) {
      const std::byte* record = copy_.find(
          copy_.heap().at<std::uint64_t>(in.guarded_slots + i * sizeof(std::uint64_t)), slot.bytes);
      if (record == nullptr || value<std::uint32_t>(record, slot.state) != slot.live) continue;
      const auto block = value<std::uint64_t>(record, slot.block);
      const std::uint64_t granule = (block - map_.base) / map_.granule_bytes;
      if (granule >= span_at_.size() || span_at_[granule] == kNoSpan) continue;
      MappedSpan& span = map_.spans[span_at_[granule]];
      if (span.kind != SpanKind::kGuarded) continue;
      span.guarded.push_back({.start = block - map_.address(span),
                              .bytes = value<std::uint64_t>(record, slot.size),
                              .page_bytes = value<std::uint64_t>(record, slot.page_bytes)});
    }
  }

  // A page in memory, by its distance from granule 0.
  void add_page(std::uint64_t offset, std::uint64_t page) {
    const std::uint64_t granule = offset / map_.granule_bytes;
    if (granule >= span_at_.size() || span_at_[granule] == kNoSpan) return;
    MappedSpan& span = map_.spans[span_at_[granule]];
    const std::uint64_t start = offset - span.first * map_.granule_bytes;
    span.resident_bytes += page;
    if (span.kind == SpanKind::kLarge) {
      const std::uint64_t end = span.block_start + span.block_bytes;
      if (start >= span.block_start && start < end) {
        span.resident_live += std::min(page, end - start);
      }
    } else if (span.kind == SpanKind::kSlab) {
      add_slots(span, start, page);
    }
  }

  void add_slots(MappedSpan& span, std::uint64_t start, std::uint64_t page) const {
    const std::uint64_t slot_bytes = map_.classes[span.size_class].slot_bytes;
    const std::uint64_t end = std::min(start + page, slot_bytes * span.slots);
    if (end > start && span.live == span.slots) {
      span.resident_live += end - start;
      return;
    }
    for (std::uint64_t at = start; at < end;) {
      const auto slot = static_cast<std::uint32_t>(at / slot_bytes);
      const std::uint64_t next = std::min((slot + std::uint64_t{1}) * slot_bytes, end);
      std::uint64_t& part = span.is_free(slot)     ? span.resident_free
                            : span.is_cached(slot) ? span.resident_cached
                                                   : span.resident_live;
      part += next - at;
      at = next;
    }
  }

  const LiveHeap& live_;
  const RecordCopy& copy_;
  HeapMap& map_;
  const HeapLayout& layout_;
  std::vector<std::uint32_t> span_at_;  // by granule
};

// What smaps says of the whole process, and how much of it lies outside of carrel's ranges. A
// mapping of the program that the kernel has merged with one of carrel's counts for what is left.
void read_smaps(const LiveHeap& live, const Copied& heap, HeapMap& map) {
  std::vector<LiveHeap::Range> own = live.block_ranges(heap);
  for (const LiveHeap::Range& range : live.record_ranges(heap)) own.push_back(range);
  std::ifstream file(live.target().proc_file("smaps"));
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    if (line.starts_with("Rss:")) {
      std::string key;
      std::uint64_t kib = 0;
      words >> key >> kib;
      const std::uint64_t rss = kib * 1024;
      map.rss_bytes += rss;
      std::uint64_t inside = 0;
      for (const LiveHeap::Range& range : own) {
        const std::uint64_t from = std::max(start, range.start);
        const std::uint64_t to = std::min(end, range.start + range.bytes);
        std::uint64_t bytes = 0;
        if (rss != 0 && from < to && live.target().resident(from, to - from, bytes)) {
          inside += bytes;
        }
      }
      map.foreign_bytes += rss > inside ? rss - inside : 0;
    } else if (!line.empty() && line.find(':') > line.find('-')) {
      char dash = 0;
      words >> std::hex >> start >> dash >> end;
    }
  }
}

}  // namespace

const char* kind_name(SpanKind kind) {
  switch (kind) {
    case SpanKind::kFree:
      return "free";
    case SpanKind::kKept:
      return "kept";
    case SpanKind::kLarge:
      return "large";
    case SpanKind::kSlab:
      return "slab";
    case SpanKind::kGuarded:
      return "guarded";
    case SpanKind::kUnknown:
      break;
  }
  return "unknown";
}

HeapMap read_map(const LiveHeap& live, bool stop) {
  HeapMap map;
  RecordCopy copy(live);
  auto start = std::chrono::steady_clock::now();
  copy.take();
  map.copy_s = seconds_since(start);
  if (stop) {
    StoppedProcess stopped(live.target().pid());
    start = std::chrono::steady_clock::now();
    copy.take();
    map.copy_s = seconds_since(start);
    map.stopped_s = stopped.release();
  }
  map.copied_bytes = copy.copied_bytes();
  MapMaker maker(live, copy, map);
  maker.make();
  maker.ask_system(copy.heap());
  read_smaps(live, copy.heap(), map);
  return map;
}

}  // namespace carrel::tools
