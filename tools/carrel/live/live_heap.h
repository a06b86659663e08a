// The heap of a process that runs on carrel: found, checked, and its records read. The constant
// that says where they lie is in carrel/heap_layout.hpp; no symbol is needed, and no file of the
// process.
//
// What is summed up of them is in counters.h and snapshot/.
#pragma once

#include <carrel/heap_layout.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "live/target.h"

namespace carrel::tools {

// What one size class looks like; the same in every process of one version.
struct SlotClass {
  std::uint32_t slot_bytes = 0;
  std::uint32_t slab_bytes = 0;
  std::uint32_t slots = 0;  // in a slab
};

class LiveHeap {
 public:
  // Finds the heap. Of several in one process, as where a library brings its own, the largest.
  // Throws UserError when the process is not on carrel, has not used it, or on another version.
  explicit LiveHeap(const Target& target);

  const Target& target() const { return target_; }
  const HeapLayout& layout() const { return layout_; }
  const std::string& library() const { return library_; }  // file that carrel is in
  std::string version() const;                             // of it
  std::size_t others() const { return others_; }  // heaps in this process that are not looked at
  const std::vector<SlotClass>& classes() const { return classes_; }  // by number; 0 is none

  // The heap's own record, as it is now. Everything else is reached from it. Throws UserError when
  // the process has become another program.
  Copied read_heap() const;

  // A copied heap's fields.
  std::uint64_t field(const Copied& heap, std::uint32_t offset) const {
    return heap.at<std::uint64_t>(offset);
  }
  std::uint64_t granule_count(const Copied& heap) const;

  // A piece of address space.
  struct Range {
    std::uint64_t start = 0;
    std::uint64_t bytes = 0;
  };
  // The ranges that hold blocks, or may.
  std::vector<Range> block_ranges(const Copied& heap) const;
  // Those of carrel's own records, and among them the chunks alone.
  std::vector<Range> record_ranges(const Copied& heap) const;
  std::vector<Range> chunks(const Copied& heap) const;

  // The thread caches' records. One that came or went meanwhile may be missing.
  std::vector<Copied> thread_caches(const Copied& heap) const;
  // Calls visit(class number, address of the pointers to blocks, blocks) for each bin of a thread
  // cache that holds some.
  template <class Visit>
  void for_each_cached(const Copied& cache, Visit visit) const;

 private:
  struct Found {
    std::uint64_t address = 0;  // of the HeapLayout
    std::string library;
  };
  std::vector<Found> find_layouts() const;
  void read_notes(const Mapping& mapping, std::vector<Found>& found) const;
  bool read_layout(const Found& found, HeapLayout& layout) const;
  std::uint64_t added_granules(const HeapLayout& layout) const;
  void read_classes();

  const Target& target_;
  std::uint64_t layout_address_ = 0;
  HeapLayout layout_ = {};
  std::string library_;
  std::size_t others_ = 0;
  std::vector<SlotClass> classes_;
};

template <class Visit>
void LiveHeap::for_each_cached(const Copied& cache, Visit visit) const {
  const HeapLayout::Cache& in = layout_.in_cache;
  const auto raised = cache.at<std::uint32_t>(in.raised_bin);  // bin 0 holds nobody's blocks
  for (std::uint32_t bin = 0; bin < in.bin_count; ++bin) {
    if (in.bin_class[bin] == 0) continue;
    const std::size_t at = in.bins + std::size_t{bin} * layout_.in_cache_bin.bytes;
    const auto top = cache.at<std::uint64_t>(at + layout_.in_cache_bin.top);
    // Also those below a floor that was raised for a sample.
    const auto floor =
        cache.at<std::uint64_t>(bin == raised ? in.true_floor : at + layout_.in_cache_bin.floor);
    const std::uint64_t blocks = (top - floor) / sizeof(std::uint64_t);
    // More than fit: its owner was replacing the array.
    if (top > floor && blocks <= in.most_slots) visit(in.bin_class[bin], floor, blocks);
  }
}

}  // namespace carrel::tools
