// Large blocks: more than 32 KiB, or aligned beyond that; each is a span of its own.
//
// Basic design: a block is the first bytes of its span, rounded up to pages. Spans of up to 1 MiB
// are taken from those that were just freed (heap/span_cache.h), if there are. A block grows in
// place where free memory follows, else its pages are moved to a longer span by the page
// tables. Memory known to be zero is not cleared for calloc. Thread-safe: a live block's
// span belongs to the block's owner, the rest is behind the span pool's lock.
//
// A hardened build has large objects of its own, in heap/guarded_large.h.
#pragma once

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

  /// Takes a live block out of the program's hands.
  Span* claim(void* block) {
    if (CARREL_UNLIKELY(map_.exchange_class(map_.index_of(block), kNotOurs) != kLargeBlock)) {
      Report<Os>::double_free(block);  // another thread was quicker
    }
    Span* span = map_.span_of(block);
    if (span->moved_pages) moved_.fetch_sub(1, std::memory_order_relaxed);
    return span;
  }

  Span* claim_counted(void* block) {
    Span* span = claim(block);
    count_out(span->large_bytes);
    return span;
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

  /// Null when memory is exhausted. `size` is at least 1, `alignment` a power of two.
  void* allocate(std::size_t size, std::size_t alignment, bool zero, std::uint32_t shard) {
    if (size > kMaxRequestBytes || alignment > kMaxRequestBytes) return nullptr;
    const std::size_t bytes = align_up(size, Os::page_bytes());
    const std::size_t granules = (bytes + kGranuleBytes - 1) >> kGranuleShift;
    const std::size_t align = alignment <= kGranuleBytes ? 1 : alignment >> kGranuleShift;
    if (granules + align > map_.window_granules()) return nullptr;
    const bool clear = zero || hardening_of<Os>().zero_freed;
    const bool passes = align == 1 && spans_.serves(granules);
    Span* span = passes ? spans_.take(shard, granules, bytes) : nullptr;
    if (!passes) this->count_in(bytes);
    if (span != nullptr) {
      if (clear) memset(map_.address(span->first), 0, bytes);
    } else {
      // Who asks for zeros often means a table that is filled here and there.
      span = pool_.allocate(static_cast<std::uint32_t>(granules), static_cast<std::uint32_t>(align),
                            SpanState::kLarge, zero ? Density::kSparse : Density::kDense);
      if (span == nullptr) {
        this->count_out(bytes);
        return nullptr;
      }
      if (clear) pool_.zero(span, bytes);
    }
    span->large_bytes = bytes;
    map_.set_class(span->first, kLargeBlock);
    return map_.address(span->first);
  }

  /// `block` is one of ours and points to a granule's start.
  void free(void* block, std::uint32_t shard) {
    Span* span = this->claim(block);
    if (!spans_.serves(span->count)) {
      this->count_out(span->large_bytes);
    } else if (spans_.keep(shard, span)) {
      return;
    }
    pool_.release(span);
  }

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
    return true;
  }

  /// Moves a block to a longer span without copying; null if that does not pay or cannot
  /// be done here, with the block left as it was.
  void* grow_by_moving(void* block, std::size_t size, std::size_t alignment) {
    Span* old = map_.span_of(block);
    if (!this->worth_moving(old)) return nullptr;
    // Whole page tables move at once.
    if (alignment < Base::kPageTableBytes) alignment = Base::kPageTableBytes;
    void* target = allocate(size, alignment, false, 0);
    if (target == nullptr) return nullptr;
    if (!Os::move_pages(block, target, old->large_bytes)) {
      free(target, 0);
      return nullptr;
    }
    map_.span_of(target)->moved_pages = true;
    moved_.fetch_add(1, std::memory_order_relaxed);
    free(block, 0);
    return target;
  }

  static std::size_t size_of(const Span* span) { return span->large_bytes; }

 private:
  SpanCache<Os>& spans_;
};

}  // namespace carrel::core
