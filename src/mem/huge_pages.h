// When the heap's memory is backed by huge pages: new memory of a large heap by request, full
// ranges of a smaller one by collapsing them, and no range that was purged in part.
//
// Called by the span pool and whoever purges; thread-safe, but for collapse_dense(). Sizes are
// those of the heap, in granules.
#pragma once

#include "mem/page_map.h"
#include "mem/span.h"

namespace carrel::core {

template <OsLayer Os>
class HugePages {
 public:
  static constexpr std::uint32_t kGranules = 2 * kMiB >> kGranuleShift;

  constexpr explicit HugePages(PageMap<Os>& map) : map_(map) {}
  HugePages(const HugePages&) = delete;
  HugePages& operator=(const HugePages&) = delete;

  /// From which size of the heap on new memory may be backed by huge pages. Where the heap
  /// shares its window with other mappings, none are asked for.
  void set_start(std::size_t heap_bytes) {
    if (!map_.reserved_at_once()) return;
    start_granules_ = heap_bytes >> kGranuleShift;
  }
  bool wanted(std::size_t heap_granules) const { return heap_granules >= start_granules_; }

  /// To be called before a range is purged. Where that leaves part of a huge page in use,
  /// the system must not fill the hole again by making the page whole; where a huge page is
  /// given back entirely, it may come again.
  void keep_apart(const char* start, std::size_t byte_count, std::size_t heap_granules) {
    if (!wanted(heap_granules)) return;
    const std::size_t end = map_.index_of(start + byte_count - 1) + 1;
    for (std::size_t huge = align_down(map_.index_of(start), kGranules); huge < end;
         huge += kGranules) {
      if (huge + kGranules > map_.granule_count()) return;
      const char* huge_start = map_.address(huge);
      const bool whole = start <= huge_start &&
                         start + byte_count >= huge_start + (kGranules << kGranuleShift);
      std::atomic<bool>& small_pages = map_.granule(huge).small_pages;
      if (small_pages.load(std::memory_order_relaxed) == !whole) continue;
      if (!whole && small_page_ranges_.load(std::memory_order_relaxed) >= kMaxSmallPageRanges) {
        continue;
      }
      if (small_pages.exchange(!whole, std::memory_order_relaxed) == !whole) continue;
      small_page_ranges_.fetch_add(whole ? std::uint32_t(-1) : 1u, std::memory_order_relaxed);
      Os::advise_huge(map_.address(huge), kGranules << kGranuleShift, whole);
    }
  }

  /// Bytes from which on a heap is worth the trouble of collapse_dense.
  static constexpr std::size_t kCollapseStartBytes = 4 * kMiB;

  void heap_grew() { collapse_tries_left_.store(kCollapseTries, std::memory_order_relaxed); }

  /// True while the part of the heap that came before huge pages were asked for may hold
  /// ranges to collapse.
  bool may_collapse(std::size_t heap_granules) const {
    return start_granules_ != SIZE_MAX && collapse_tries_left_ > 0 &&
           heap_granules >= kCollapseStartBytes >> kGranuleShift;
  }

  /// Turns full 2 MiB ranges of a small heap into huge pages, at most one at a call. For
  /// one thread at a time. Tries each range again now and then, not for ever.
  bool collapse_dense(std::size_t heap_granules) {
    if (!may_collapse(heap_granules)) return false;
    std::size_t end = map_.granule_count();
    if (end > start_granules_) end = start_granules_;
    for (std::size_t huge = 0; huge + kGranules <= end; huge += kGranules) {
      Granule& first = map_.granule(huge);
      if (first.collapsed || first.small_pages.load(std::memory_order_relaxed)) continue;
      if (!Os::collapse_dense(map_.address(huge), kGranules << kGranuleShift)) continue;
      first.collapsed = true;
      collapse_tries_left_ = kCollapseTries;
      return true;
    }
    --collapse_tries_left_;
    return false;
  }

 private:
  /// Each range with a rule of its own costs the process up to two of its mappings.
  static constexpr std::uint32_t kMaxSmallPageRanges = 4096;
  static constexpr std::uint32_t kCollapseTries = 20;

  PageMap<Os>& map_;
  std::size_t start_granules_ = SIZE_MAX;  // set once, before threads
  std::atomic<std::uint32_t> small_page_ranges_{0};
  std::atomic<std::uint32_t> collapse_tries_left_{kCollapseTries};
};

}  // namespace carrel::core
