// The heap's records, copied in one go, to be read at leisure: the heap, its granules, its class
// map and all metadata, in which spans, bitmaps and thread caches lie.
#pragma once

#include <cstdint>
#include <vector>

#include "live/live_heap.h"

namespace carrel::tools {

class RecordCopy {
 public:
  explicit RecordCopy(const LiveHeap& live) : live_(live) {}

  // Copies everything. Again, it needs little memory of its own, all of it touched already: so the
  // time that it takes while the process stands still is that of copying alone.
  void take();

  const Copied& heap() const { return heap_; }
  std::uint64_t granule_count() const { return granule_count_; }
  std::uint8_t class_value(std::uint64_t granule) const {
    return static_cast<std::uint8_t>(class_map_.bytes[granule]);
  }
  // The span of a granule, where it has one.
  std::uint64_t span_of(std::uint64_t granule) const;

  // A record's bytes by its address in the process; null for what is no metadata.
  const std::byte* find(std::uint64_t address, std::size_t bytes) const;

  template <class T>
  static T value(const std::byte* record, std::size_t offset) {
    T value;
    std::memcpy(&value, record + offset, sizeof value);
    return value;
  }

  // Addresses of the thread caches' records.
  std::vector<std::uint64_t> thread_caches() const;
  // A cache as it was copied.
  Copied record(std::uint64_t address, std::size_t bytes) const;

  std::uint64_t copied_bytes() const { return copied_bytes_; }

 private:
  void copy(std::uint64_t address, std::size_t bytes, Copied& out);

  const LiveHeap& live_;
  Copied heap_;
  std::uint64_t granule_count_ = 0;
  Copied granules_;
  Copied class_map_;
  std::vector<Copied> chunks_;  // by address
  std::uint64_t copied_bytes_ = 0;
};

}  // namespace carrel::tools
