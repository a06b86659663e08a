// Large blocks: more than 32 KiB, or aligned beyond that; each is a span of its own.
//
// Basic design: a block is the first bytes of its span, rounded up to pages. Spans of up to 1 MiB
// are taken from those that the thread just freed (heap/span_cache.h), if there are. A block grows
// in place where free memory follows, else its pages are moved to a longer span by the page tables.
// Memory known to be zero is not cleared for calloc. Thread-safe: a live block's span belongs to
// the block's owner, the rest is behind the span pool's lock.
//
// A hardened build has large objects of its own, in heap/guarded_large.h.
#pragma once

#include "base/poison.h"
#include "base/report.h"
#include "heap/span_cache.h"

namespace carrel::core {

/// What large blocks have in common, in every build: where they come from, how they are counted.
template <OsLayer Os>
class LargeBlocks {
 public:
  LargeBlocks(const LargeBlocks&) = delete;
  LargeBlocks& operator=(const LargeBlocks&) = delete;

  std::size_t count() const { return count_.load(std::memory_order_relaxed); }
  std::size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 protected:
  friend struct HeapLayoutTable;  // says where these are: api/heap_layout.cc
  /// Below this, copying is as fast as three calls to the system.
  static constexpr std::size_t kMoveBytes = 256 * kKiB;
  static constexpr std::size_t kPageTableBytes = 2 * kMiB;
  /// Each moved block costs the process two of its mappings while it lives.
  static constexpr std::size_t kMaxMoved = 4096;

  constexpr LargeBlocks(PageMap<Os>& map, SpanPool<Os>& pool) : map_(map), pool_(pool) {}

  /// Whether to move this block's pages instead of copying.
  bool worth_moving(const Span* span) const {
    return span->large_bytes >= kMoveBytes && moved_.load(std::memory_order_relaxed) < kMaxMoved;
  }

  void count_in(std::size_t bytes) {
    count_.fetch_add(1, std::memory_order_relaxed);
    bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }
  void count_out(std::size_t bytes) {
    count_.fetch_sub(1, std::memory_order_relaxed);
    bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  }

  PageMap<Os>& map_;
  SpanPool<Os>& pool_;
  std::atomic<std::size_t> count_{0};  // statistics
  std::atomic<std::size_t> bytes_{0};
  std::atomic<std::size_t> moved_{0};
};

template <OsLayer Os>
class LargeObjects : public LargeBlocks<Os> {
  using Base = LargeBlocks<Os>;
  using Base::bytes_, Base::map_, Base::moved_, Base::pool_;

 public:
  constexpr LargeObjects(PageMap<Os>& map, SpanPool<Os>& pool, SpanCache<Os>& spans)
      : Base(map, pool), spans_(spans) {}

  /// A block in a span that the thread kept, or null. `size` is at least 1, `cache` the thread's.
  void* reuse(std::size_t size, bool zero, ThreadCache& cache) {
    if (size > SpanCache<Os>::kMostBytes) return nullptr;
    Span* span = spans_.take(cache, (size + kGranuleBytes - 1) >> kGranuleShift);
    if (span == nullptr) return nullptr;
    const std::size_t bytes = align_up(size, Os::page_bytes());
    span->large_bytes = bytes;
    cache.kept.count(1, bytes);
    char* block = map_.address(span->first);
    unpoison(block, bytes);
    if (zero || hardening_of<Os>().zero_freed) memset(block, 0, bytes);
    return block;
  }

  /// Null when memory is exhausted. `size` is at least 1, `alignment` a power of two.
  void* allocate(std::size_t size, std::size_t alignment, bool zero) {
    if (size > kMaxRequestBytes || alignment > kMaxRequestBytes) return nullptr;
    const std::size_t bytes = align_up(size, Os::page_bytes());
    const std::size_t granules = (bytes + kGranuleBytes - 1) >> kGranuleShift;
    const std::size_t align = alignment <= kGranuleBytes ? 1 : alignment >> kGranuleShift;
    if (granules + align > map_.window_granules()) return nullptr;
    // Who asks for zeros often means a table that is filled here and there.
    Span* span =
        pool_.allocate(static_cast<std::uint32_t>(granules), static_cast<std::uint32_t>(align),
                       SpanState::kLarge, zero ? Density::kSparse : Density::kDense);
    if (span == nullptr) return nullptr;
    if (zero || hardening_of<Os>().zero_freed) pool_.zero(span, bytes);
    span->large_bytes = bytes;
    map_.set_class(span->first, kLargeBlock);
    this->count_in(bytes);
    return map_.address(span->first);
  }

  /// Frees a block, one of ours that points to a granule's start, if the thread can keep its span.
  bool free_and_keep(void* block, ThreadCache& cache) {
    const Span* freed = map_.span_of(block);
    if (!spans_.has_room(cache, freed->count)) return false;
    if (freed->moved_pages) return false;  // see SpanPool::release
    Span* span = claim(block);
    cache.kept.count(-std::size_t{1}, -span->large_bytes);
    spans_.keep(cache, span);
    return true;
  }

  /// Frees a block, one of ours that points to a granule's start, back to the pool.
  void free(void* block) {
    Span* span = claim(block);
    this->count_out(span->large_bytes);
    map_.set_class(span->first, kNotOurs);
    pool_.release(span);
  }

  /// Whether a block that the class map calls large, and that points to a granule's start, is live:
  /// otherwise it was freed, and its span is kept.
  bool is_live(const void* block) const { return map_.span_of(block)->state == SpanState::kLarge; }

  std::size_t count() const { return Base::count() + spans_.blocks(); }
  std::size_t bytes() const { return Base::bytes() + spans_.bytes(); }

  /// Changes a block's size without moving it; false if that cannot be done, or would keep
  /// more than twice the memory that is needed.
  bool resize_in_place(void* block, std::size_t size) {
    if (size > kMaxRequestBytes) return false;
    Span* span = map_.span_of(block);
    const std::size_t bytes = align_up(size, Os::page_bytes());
    const std::size_t granules = (bytes + kGranuleBytes - 1) >> kGranuleShift;
    if (granules > map_.window_granules()) return false;
    const auto count = static_cast<std::uint32_t>(granules);
    if (count > span->count && !pool_.grow_in_place(span, count)) return false;
    if (count < span->count && !pool_.shrink_in_place(span, count)) return false;
    bytes_.fetch_add(bytes - span->large_bytes, std::memory_order_relaxed);
    span->large_bytes = bytes;
    unpoison(block, bytes);
    return true;
  }

  /// Moves a block to a longer span without copying; null if that does not pay or cannot
  /// be done here, with the block left as it was.
  CARREL_COLD void* grow_by_moving(void* block, std::size_t size, std::size_t alignment) {
    Span* old = map_.span_of(block);
    if (!this->worth_moving(old)) return nullptr;
    // Whole page tables move at once.
    if (alignment < Base::kPageTableBytes) alignment = Base::kPageTableBytes;
    void* target = allocate(size, alignment, false);
    if (target == nullptr) return nullptr;
    if (!Os::move_pages(block, target, old->large_bytes)) {
      free(target);
      return nullptr;
    }
    map_.span_of(target)->moved_pages = true;
    moved_.fetch_add(1, std::memory_order_relaxed);
    free(block);
    return target;
  }

  static std::size_t size_of(const Span* span) { return span->large_bytes; }

 private:
  /// Takes a live block out of the program's hands. Of threads that free it at once only one
  /// succeeds, by the span's state; all else that it finds in the span came to it with the block,
  /// so that the step need not order anything.
  Span* claim(void* block) {
    Span* span = map_.span_of(block);
    if (CARREL_UNLIKELY(!span->state.change(SpanState::kLarge, SpanState::kKept) ||
                        span->first != map_.index_of(block))) {
      Report<Os>::double_free(block);  // freed before, or another thread was quicker
    }
    if (span->moved_pages) moved_.fetch_sub(1, std::memory_order_relaxed);
    return span;
  }

  SpanCache<Os>& spans_;
};

}  // namespace carrel::core
