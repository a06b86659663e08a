// Copying the records: a few large reads.
#include "snapshot/record_copy.h"

#include <algorithm>

namespace carrel::tools {

void RecordCopy::take() {
  heap_ = live_.read_heap();
  const HeapLayout::Heap& in = live_.layout().in_heap;
  copied_bytes_ = heap_.bytes.size();
  granule_count_ = live_.granule_count(heap_);
  copy(live_.field(heap_, in.granules), granule_count_ * live_.layout().in_granule.bytes,
       granules_);
  copy(live_.field(heap_, in.class_map), granule_count_, class_map_);
  const std::uint64_t end = live_.field(heap_, in.next_record);
  for (const LiveHeap::Range& range : live_.chunks(heap_)) {
    auto place = std::find_if(chunks_.begin(), chunks_.end(),
                              [&](const Copied& chunk) { return chunk.address == range.start; });
    if (place == chunks_.end()) place = chunks_.emplace(chunks_.end());
    // Of the newest, what was never used is zero.
    const bool newest = end > range.start && end <= range.start + range.bytes;
    copy(range.start, newest ? end - range.start : range.bytes, *place);
  }
  std::sort(chunks_.begin(), chunks_.end(),
            [](const Copied& a, const Copied& b) { return a.address < b.address; });
}

void RecordCopy::copy(std::uint64_t address, std::size_t bytes, Copied& out) {
  if (!live_.target().copy(address, bytes, out)) {
    throw UserError("process {}: carrel's records at {:#x} cannot be read; try again",
                    live_.target().pid(), address);
  }
  copied_bytes_ += bytes;
}

std::uint64_t RecordCopy::span_of(std::uint64_t granule) const {
  const HeapLayout::Granule& in = live_.layout().in_granule;
  return granules_.at<std::uint64_t>(granule * in.bytes + in.span);
}

const std::byte* RecordCopy::find(std::uint64_t address, std::size_t bytes) const {
  const auto behind =
      std::upper_bound(chunks_.begin(), chunks_.end(), address,
                       [](std::uint64_t at, const Copied& chunk) { return at < chunk.address; });
  if (behind == chunks_.begin()) return nullptr;
  const Copied& chunk = *(behind - 1);
  const std::uint64_t offset = address - chunk.address;
  if (offset > chunk.bytes.size() || bytes > chunk.bytes.size() - offset) return nullptr;
  return chunk.bytes.data() + offset;
}

std::vector<std::uint64_t> RecordCopy::thread_caches() const {
  const HeapLayout& layout = live_.layout();
  const std::uint64_t count = live_.field(heap_, layout.in_heap.cache_count);
  std::vector<std::uint64_t> caches;
  std::uint64_t at = live_.field(heap_, layout.in_heap.caches);
  while (at != 0 && caches.size() < 2 * count + 16) {
    const std::byte* cache = find(at, layout.in_cache.bytes);
    if (cache == nullptr) break;
    caches.push_back(at);
    at = value<std::uint64_t>(cache, layout.in_cache.next);
  }
  return caches;
}

Copied RecordCopy::record(std::uint64_t address, std::size_t bytes) const {
  Copied out;
  out.address = address;
  const std::byte* found = find(address, bytes);
  if (found != nullptr) out.bytes.assign(found, found + bytes);
  return out;
}

}  // namespace carrel::tools
