// Large blocks of a hardened build: between fences, with their exact size known, and out of reach
// for a while after they were freed.
//
// Basic design: a span holds a lead of whole granules, the block, rounded up to pages, and at least
// one page more. The lead and what follows the block are fenced: touching them ends the
// process. Between the block's last byte and the fence lies a canary, as far as there is room. A
// freed block of up to 64 MiB is fenced itself and waits among others, to be replaced at random;
// only then its span goes back to the pool. Every block reads as zero when it is handed out.
//
// A fence costs a call to the system. Where the system refuses one (too many mappings, on kernels
// that need one for each), the block goes without. Thread-safe, as heap/large_objects.h.
#pragma once

#include "heap/guarded_slots.h"
#include "heap/large_objects.h"

namespace carrel::core {

template <OsLayer Os>
class GuardedLarge : public LargeBlocks<Os> {
  using Base = LargeBlocks<Os>;
  using Base::bytes_, Base::map_, Base::moved_, Base::pool_;

 public:
  /// Freed blocks wait here and in no other cache.
  constexpr GuardedLarge(PageMap<Os>& map, SpanPool<Os>& pool, SpanCache<Os>&) : Base(map, pool) {}

  /// Before the first block.
  void initialize(std::uint64_t secret) { secret_ = secret; }

  /// Null when memory is exhausted. `size` is at least 1, `alignment` a power of two.
  void* allocate(std::size_t size, std::size_t alignment, bool zero) {
    if (size > kMaxRequestBytes || alignment > kMaxRequestBytes) return nullptr;
    const std::size_t bytes = align_up(size, Os::page_bytes());
    const std::size_t align = alignment <= kGranuleBytes ? 1 : alignment >> kGranuleShift;
    // A lead of a multiple of the alignment keeps the block aligned behind it.
    const std::size_t lead = align == 1 ? 1 + random_turn() % kMaxLead : align;
    const std::size_t granules =
        lead + ((bytes + Os::page_bytes() + kGranuleBytes - 1) >> kGranuleShift);
    if (granules + align > map_.window_granules()) return nullptr;
    Span* span =
        pool_.allocate(static_cast<std::uint32_t>(granules), static_cast<std::uint32_t>(align),
                       SpanState::kLarge, zero ? Density::kSparse : Density::kDense);
    if (span == nullptr) return nullptr;
    span->large_bytes = bytes;
    lead_of(span) = lead;
    char* block = block_of(span);
    // All of a short lead is fenced, so that nothing in it stays resident or is written to; of a
    // long one, which only a large alignment asks for, the end.
    const bool whole = lead <= kMaxLead;
    const std::size_t fenced = whole ? lead << kGranuleShift : kGranuleBytes;
    const bool front = Os::fence(block - fenced, fenced);
    pool_.zero(span, (lead << kGranuleShift) + bytes, static_cast<std::uint32_t>(lead));
    const bool tail =
        Os::fence(block + bytes, static_cast<std::size_t>(end_of(span) - block) - bytes);
    span->inline_bits[kAllFenced] = whole && front && tail ? 1 : 0;
    set_size(span, size);
    const std::size_t index = span->first + lead;
    map_.granule(index).span = span;
    map_.set_class(index, kLargeBlock);
    this->count_in(bytes);
    return block;
  }

  /// `block` is one of ours and points to a granule's start.
  void free(void* block) {
    Span* span = claim_counted(block);
    check_canary(span);
    put_away(span);
  }

  /// The exact size of a live block.
  static std::size_t size_of(const Span* span) { return span->inline_bits[kSize]; }

  /// Changes a block's size without moving it; false if that cannot be done, or would keep
  /// more than twice the memory that is needed.
  bool resize_in_place(void* block, std::size_t size) {
    Span* span = map_.span_of(block);
    check_canary(span);
    if (size > kMaxRequestBytes) return false;
    const std::size_t old_bytes = span->large_bytes;
    const std::size_t bytes = align_up(size, Os::page_bytes());
    const auto room = static_cast<std::size_t>(end_of(span) - block_of(span)) - Os::page_bytes();
    if (bytes > room || bytes < old_bytes / 2) return false;
    return change_size(span, size, bytes);
  }

  /// Makes a live block shorter, however much that keeps for nothing; false if the system refuses.
  bool shrink_in_place(void* block, std::size_t size) {
    Span* span = map_.span_of(block);
    check_canary(span);
    return change_size(span, size, align_up(size, Os::page_bytes()));
  }

  /// Moves a block to a longer span without copying; null if that does not pay or cannot
  /// be done here, with the block left as it was.
  void* grow_by_moving(void* block, std::size_t size, std::size_t alignment) {
    Span* old = map_.span_of(block);
    if (!this->worth_moving(old)) return nullptr;
    check_canary(old);
    // Whole page tables move at once.
    if (alignment < Base::kPageTableBytes) alignment = Base::kPageTableBytes;
    void* target = allocate(size, alignment, false);
    if (target == nullptr) return nullptr;
    Span* span = map_.span_of(target);
    if (!Os::move_pages(block, target, old->large_bytes)) {
      free(target);
      return nullptr;
    }
    span->moved_pages = true;
    moved_.fetch_add(1, std::memory_order_relaxed);
    clear_beyond(span, size_of(old), old->large_bytes);  // the old canary came along
    set_size(span, size);
    put_away(claim_counted(block));
    return target;
  }

  /// Gives freed blocks that are out of reach back to the pool: address space or memory is short.
  void release_fenced() {
    for (std::atomic<Span*>& place : fenced_) {
      Span* span = place.exchange(nullptr, std::memory_order_acq_rel);
      if (span != nullptr) release(span, span->inline_bits[kAllFenced] != 0);
    }
  }

  /// The block between whose fences this granule lies, or behind whose own it was; false if there
  /// is none. Takes no lock and may be called at any moment.
  bool explain(std::size_t index, FaultedBlock& block) const {
    for (std::size_t at = index + 1; at-- > 0;) {
      Span* span = map_.granule(at).span;
      if (span == nullptr || span->first > index || index - span->first >= span->count) continue;
      const bool freed = is_put_away(span);
      if (!freed && map_.class_seen_at(span->first + lead_of(span)) != kLargeBlock) return false;
      block = {.start = block_of(span), .size = size_of(span), .freed = freed, .slot = nullptr};
      return freed || span->state == SpanState::kLarge;
    }
    return false;
  }

 private:
  static constexpr Hardening kHard = hardening_of<Os>();

  // A large span has no slots: its bitmap words hold what only this file knows.
  enum Word : std::uint8_t { kSize, kLead, kAllFenced, kWords };
  static_assert(kWords <= Span::kInlineWords);

  static constexpr std::size_t kMaxLead = 4;
  /// Larger blocks would keep too much address space.
  static constexpr std::size_t kMostFencedBytes = 64 * kMiB;

  /// Takes a live block out of the program's hands.
  Span* claim_counted(void* block) {
    if (CARREL_UNLIKELY(map_.exchange_class(map_.index_of(block), kNotOurs) != kLargeBlock)) {
      Report<Os>::double_free(block);  // another thread was quicker
    }
    Span* span = map_.span_of(block);
    if (span->moved_pages) moved_.fetch_sub(1, std::memory_order_relaxed);
    this->count_out(span->large_bytes);
    return span;
  }

  /// Different from call to call and from run to run. Not a cipher.
  std::uint64_t random_turn() {
    const std::uint64_t turn = turns_.fetch_add(0x9E3779B97F4A7C15, std::memory_order_relaxed);
    return ((turn ^ secret_) * 0xD6E8FEB86659FD93) >> 40;
  }

  static std::uint64_t& lead_of(Span* span) { return span->inline_bits[kLead]; }
  char* block_of(Span* span) const { return map_.address(span->first + lead_of(span)); }
  char* end_of(const Span* span) const { return map_.address(span->first + span->count); }

  /// Bytes of canary behind a block of this size.
  static std::size_t canary_room(const Span* span, std::size_t size) {
    const std::size_t spare = span->large_bytes - size;
    return spare < sizeof(std::uint64_t) ? spare : sizeof(std::uint64_t);
  }
  std::uint64_t canary_of(const Span* span) const {
    return ((address_of(span) ^ secret_) * 0x9E3779B97F4A7C15) | 0x8080808080808080;
  }

  void set_size(Span* span, std::size_t size) {
    span->inline_bits[kSize] = size;
    const std::uint64_t canary = canary_of(span);
    memcpy(block_of(span) + size, &canary, canary_room(span, size));
  }
  void check_canary(Span* span) const {
    const std::size_t size = size_of(span);
    const std::uint64_t canary = canary_of(span);
    if (CARREL_UNLIKELY(memcmp(block_of(span) + size, &canary, canary_room(span, size)) != 0)) {
      TextBuffer<64> around;
      around << ", a large block of " << std::uint64_t{size} << " bytes";
      Report<Os>::overflow(block_of(span), around.data());
    }
  }
  /// Moves the fence behind a block; `bytes` is `size` rounded up to pages.
  bool change_size(Span* span, std::size_t size, std::size_t bytes) {
    const std::size_t old_bytes = span->large_bytes;
    char* start = block_of(span);
    if (bytes > old_bytes && !Os::unfence(start + old_bytes, bytes - old_bytes)) return false;
    if (bytes < old_bytes && !Os::fence(start + bytes, old_bytes - bytes)) return false;
    clear_beyond(span, size < size_of(span) ? size : size_of(span), bytes);
    bytes_.fetch_add(bytes - old_bytes, std::memory_order_relaxed);
    span->large_bytes = bytes;
    set_size(span, size);
    return true;
  }

  /// Zeroes what lies between a block's size and its last page's end, canary included.
  void clear_beyond(Span* span, std::size_t size, std::size_t bytes) {
    const std::size_t old_end = align_up(size, Os::page_bytes());
    const std::size_t end = old_end < bytes ? old_end : bytes;
    if (size < end) memset(block_of(span) + size, 0, end - size);
  }

  bool is_put_away(const Span* span) const {
    for (const std::atomic<Span*>& place : fenced_) {
      if (place.load(std::memory_order_acquire) == span) return true;
    }
    return false;
  }

  /// Fences a freed block; the one whose place it takes goes back to the pool.
  void put_away(Span* span) {
    if constexpr (kHard.fenced_large != 0) {
      if (span->large_bytes <= kMostFencedBytes && map_.reserved_at_once() &&
          Os::fence(block_of(span), span->large_bytes)) {
        span->state = SpanState::kPurging;  // what a second free finds: no block any more
        // Acquire and release: who gets a span sees all that was done to it before.
        Span* left =
            fenced_[random_turn() % kHard.fenced_large].exchange(span, std::memory_order_acq_rel);
        if (left != nullptr) release(left, left->inline_bits[kAllFenced] != 0);
        return;
      }
    }
    release(span, false, true);
  }

  /// `open`: the block itself is not fenced.
  void release(Span* span, bool all_fenced, bool open = false) {
    char* start = map_.address(span->first);
    if (!Os::unfence(start, static_cast<std::size_t>(end_of(span) - start))) {
      // The system is out of mappings: the address space is lost, the memory is not.
      if (open) Os::purge(block_of(span), span->large_bytes);
      return;
    }
    span->state = SpanState::kLarge;
    pool_.release(span, all_fenced);
  }

  std::uint64_t secret_ = 0;
  std::atomic<Span*> fenced_[kHard.fenced_large == 0 ? 1 : kHard.fenced_large] = {};
  std::atomic<std::uint64_t> turns_{0};
};

}  // namespace carrel::core
