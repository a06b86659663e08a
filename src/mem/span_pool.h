// The pool of free spans: where slabs and large blocks come from and go back to.
//
// Basic design: free spans are kept coalesced, whether their pages were touched or not,
// in lists by length; spans with touched granules have lists of their own and are taken
// first, because a touched page costs nothing and an untouched one a page fault. What
// neither offers comes from the end of the heap. Each granule remembers when it became
// free; purge_older_than() gives those pages back that have been free for long. A purged
// granule is known to read as zero.
//
// Invariants, under lock_: no two free spans are neighbours; the first and the last
// granule of every span lead to its Span; a granule that is in no span belongs to memory
// that was never added. Thread-safe; rank 4. A second kind of pool, an arena's own, borrows its
// memory from the heap's: mem/lending.h has that part, and is what others include.
#pragma once

#include "base/poison.h"
#include "base/probe.h"
#include "base/report.h"
#include "mem/backing.h"
#include "mem/free_spans.h"
#include "mem/huge_pages.h"
#include "mem/metadata_arena.h"
#include "mem/page_map.h"
#include "mem/pool_limits.h"
#include "mem/pool_totals.h"
#include "mem/span.h"
#include "mem/stale.h"

namespace carrel::core {

/// Whether a span's user will probably touch all of it.
enum class Density : std::uint8_t { kDense, kSparse };

template <OsLayer Os>
class SpanPool {
 public:
  constexpr SpanPool(PageMap<Os>& map, MetadataArena<Os>& metadata)
      : map_(map), metadata_(metadata), huge_(map) {}
  /// One that has its memory from another, by a number that no other pool has.
  SpanPool(SpanPool& lender, std::uint32_t id)
      : map_(lender.map_),
        metadata_(lender.metadata_),
        lender_(&lender),
        id_(id),
        huge_(lender.map_) {}
  SpanPool(const SpanPool&) = delete;
  SpanPool& operator=(const SpanPool&) = delete;

  /// A span of `count` granules whose first granule's address is a multiple of
  /// `align_granules` granules, in state `state`; null when memory is exhausted.
  Span* allocate(std::uint32_t count, std::uint32_t align_granules, SpanState state,
                 Density density = Density::kDense) {
    CountingLockGuard guard(lock_, events_.contended);
    if (!could_fit(count)) return nullptr;
    const std::uint32_t slack = align_granules - 1;
    Span* span = find(count + slack);
    if (span == nullptr) {
      if (!extend(count + slack, density)) return nullptr;
      span = find(count + slack);
    }
    unlink(span);
    if (slack != 0) span = trim_to_alignment(span, count, align_granules);
    if (span != nullptr && span->count > count && !split_off_rest(span, count)) {
      merge_and_link(span);
      return nullptr;
    }
    if (span != nullptr && !may_touch(span)) {
      merge_and_link(span);
      return nullptr;
    }
    if (span != nullptr) claim(span, state);
    return span;
  }

  /// Takes a span back. Its class map entries must be cleared already. `known_zero`: all of it
  /// reads as zero.
  void release(Span* span, bool known_zero = false) {
    // What move_pages put there cannot merge with its neighbours in the kernel's
    // book-keeping and would use up the process's mappings.
    const bool fresh = span->moved_pages && Os::fresh_pages(map_.address(span->first), bytes(span));
    if (fresh && huge_.wanted(added_granules())) {
      Os::advise_huge(map_.address(span->first), bytes(span), true);  // as its neighbours are
    }
    LockGuard guard(lock_);
    Report<Os>::check(span->state >= SpanState::kLarge, "a span that is released is in use");
    span->moved_pages = false;
    const bool untouched = fresh || known_zero;
    stamp(span, untouched ? std::uint8_t{0} : now());
    insert(span);
  }

  /// Takes back spans that are linked by `next` and were never filled by move_pages. Those that
  /// follow each other downwards, as an arena's mostly do, become one before they are filed.
  void release_chain(Span* chain) {
    LockGuard guard(lock_);
    while (chain != nullptr) {
      Span* span = chain;
      chain = span->next;
      while (chain != nullptr && chain->first + chain->count == span->first) {
        Span* below = chain;
        chain = below->next;
        span->first = below->first;
        span->count += below->count;
        retire(below);
      }
      stamp(span, now());
      insert(span);
    }
  }

  /// Makes a large span longer without moving it, if free memory follows.
  CARREL_COLD bool grow_in_place(Span* span, std::uint32_t new_count) {
    LockGuard guard(lock_);
    const std::uint32_t extra = new_count - span->count;
    if (!could_fit(extra)) return false;
    Span* after = free_span_starting_at(span->first + span->count);
    if (after == nullptr || after->count < extra) {
      if (span->first + span->count + (after == nullptr ? 0 : after->count) != end_ ||
          !extend(extra, Density::kDense)) {
        return false;
      }
      after = free_span_starting_at(span->first + span->count);
      if (after == nullptr || after->count < extra) return false;  // mapped elsewhere
    }
    unlink(after);
    if (after->count > extra && !split_off_rest(after, extra)) {
      link(after);
      return false;
    }
    if (!may_touch(after)) {
      merge_and_link(after);
      return false;
    }
    free_granules_.fetch_sub(extra, std::memory_order_relaxed);
    touched_granules_.fetch_sub(after->touched_count, std::memory_order_relaxed);
    span->count = new_count;
    unpoison(map_.address(span->first), bytes(span));
    retire(after);
    set_ends(span);
    return true;
  }

  /// Gives the end of a large span back to the pool.
  bool shrink_in_place(Span* span, std::uint32_t new_count) {
    Span* rest = nullptr;
    {
      LockGuard guard(lock_);
      rest = new_span();
      if (rest == nullptr) return false;
      rest->first = span->first + new_count;
      rest->count = span->count - new_count;
      rest->state = span->state;
      rest->moved_pages = span->moved_pages;
      span->count = new_count;
      set_ends(span);
      set_ends(rest);
    }
    release(rest);
    return true;
  }

  /// Tells the pool what time it is; see ticks in heap/purger.h.
  void set_tick(std::uint8_t tick) { tick_.store(tick, std::memory_order_relaxed); }

  /// Gives back pages that have been free for at least `age` ticks, all if 0. Stops after
  /// about `limit` granules; returns the granules given back. The system is called without
  /// the lock: the spans are out of the pool meanwhile.
  CARREL_COLD std::size_t purge_older_than(std::uint8_t age, std::size_t limit) {
    std::size_t purged = 0;
    std::size_t resume = 0;
    while (purged < limit) {
      StaleBatch batch;
      LockGuard out_of_the_pool(purging_);
      {
        LockGuard guard(lock_);
        take_stale(age, batch, resume);
      }
      if (batch.size == 0) break;
      std::size_t given_back = 0;
      for (std::size_t i = 0; i < batch.size; ++i) given_back += purge_span(batch.spans[i]);
      if (given_back == 0) break;  // the system refuses: locked memory
      purged += given_back;
    }
    return purged;
  }

  /// Makes a span in use read as zero and says so to its owner: writes what is small,
  /// gives back and refaults what is large. From granule `from` of the span on, up to byte
  /// `byte_count` of it.
  void zero(Span* span, std::size_t byte_count, std::uint32_t from = 0) {
    for (std::uint32_t i = from; i < span->count; ++i) {
      if (map_.granule(span->first + i).touched_tick == 0) continue;
      std::uint32_t run = 1;
      while (i + run < span->count && map_.granule(span->first + i + run).touched_tick != 0) ++run;
      char* start = map_.address(span->first + i);
      const std::size_t offset = std::size_t{i} << kGranuleShift;
      if (offset >= byte_count) return;
      std::size_t size = std::size_t{run} << kGranuleShift;
      if (size > byte_count - offset) size = byte_count - offset;
      if (size < kZeroByPurgingBytes || backing_.commit != nullptr ||
          !Os::purge(start, align_up(size, Os::page_bytes()))) {
        memset(start, 0, size);
      }
      i += run - 1;
    }
  }

  /// Huge pages, see mem/huge_pages.h. `heap_bytes`: from which size of the heap on they are asked
  /// for.
  void set_huge_start(std::size_t heap_bytes) { huge_.set_start(heap_bytes); }
  /// To be called before a range is purged.
  void keep_huge_pages_apart(const char* start, std::size_t byte_count) {
    huge_.keep_apart(start, byte_count, added_granules());
  }
  bool may_collapse() const { return huge_.may_collapse(added_granules()); }
  bool collapse_dense() { return huge_.collapse_dense(added_granules()); }

  // Of the heap's pool, for those that borrow from it: see mem/lending.h.
  Span* lend(std::uint32_t count, std::uint32_t align_granules, std::uint32_t to);
  void take_back(Span* span, bool known_zero);

  // Of a pool that borrows.

  /// How what is borrowed from now on is prepared; while it has nothing.
  void set_backing(const Backing& backing) {
    LockGuard guard(lock_);
    backing_ = backing;
  }
  const Backing& backing() const { return backing_; }
  /// Borrows now, so that refusals show early.
  bool borrow_first(std::uint32_t count) {
    LockGuard guard(lock_);
    return borrow(count);
  }
  /// Gives back all that is free, prepared as it came; what is in use stays.
  void return_all();

  PoolTotals totals() const {
    return {.added = added_granules_.load(std::memory_order_relaxed),
            .free = free_granules_.load(std::memory_order_relaxed),
            .touched = touched_granules_.load(std::memory_order_relaxed),
            .purged = purged_granules_.load(std::memory_order_relaxed)};
  }

  /// What may be resident: spans in use, and free ones that are touched, in granules. Nothing but
  /// handing out untouched granules adds to it.
  std::size_t used_granules() const {
    return added_granules_.load(std::memory_order_relaxed) -
           free_granules_.load(std::memory_order_relaxed) +
           touched_granules_.load(std::memory_order_relaxed);
  }

  /// From now on used_granules() never exceeds `hard`; beyond `soft`, over_soft_limit() says so.
  /// In bytes; SIZE_MAX for none.
  void set_limits(std::size_t soft, std::size_t hard) { limits_.set(soft, hard); }
  bool over_soft_limit() const {
    return CARREL_UNLIKELY(limits_.has_soft()) && limits_.over_soft(used_granules());
  }
  /// Whether memory is short for more than this process: all of it is beyond the soft limit then.
  void set_memory_short(bool is_short) { limits_.set_short(is_short); }
  bool memory_is_short() const { return limits_.is_short(); }
  bool has_hard_limit() const { return limits_.has_hard(); }
  /// Whether the limit alone is why so large a block cannot be had now.
  bool limit_refuses(std::size_t byte_count) const {
    return !limits_.leaves_room(used_granules(), granules_for(byte_count));
  }

  /// How large the heap is, in granules.
  std::size_t added_granules() const { return added_granules_.load(std::memory_order_relaxed); }

  PoolEvents events() {
    LockGuard guard(lock_);
    return events_;
  }

  void lock() { lock_.lock(); }
  void unlock() { lock_.unlock(); }
  /// Held while memory is out of the pool, or slots out of a slab, to be given back: a child
  /// made meanwhile would miss it for ever. Held for one batch or one slab at a time.
  Mutex<Os>& purging() { return purging_; }
  void reset_after_fork() {
    lock_.reset_after_fork();
    purging_.reset_after_fork();
  }

 private:
  friend struct HeapLayoutTable;  // says where these are: api/heap_layout.cc
  static constexpr std::uint32_t kMinExtension = 1 * kMiB >> kGranuleShift;
  static constexpr std::uint32_t kMaxExtension = 64 * kMiB >> kGranuleShift;
  /// Writing costs about 0.1 ns a byte, giving back and faulting again some 0.2 to 0.5 ns:
  /// but the owner of a large block may never touch most of it.
  static constexpr std::size_t kZeroByPurgingBytes = 4 * kMiB;

  std::uint8_t now() const {
    return lender_ != nullptr ? lender_->now() : tick_.load(std::memory_order_relaxed);
  }
  static std::size_t bytes(const Span* span) { return std::size_t{span->count} << kGranuleShift; }

  /// Whether the limit leaves room for so many granules at all, whatever is purged: asked before
  /// the heap is made larger for them.
  bool could_fit(std::uint32_t count) const {
    return limits_.leaves_room(added_granules() - free_granules_.load(std::memory_order_relaxed),
                               count);
  }

  /// Whether the limit allows that this unlinked free span is handed out. Exact: what it asks
  /// changes under the lock only.
  bool may_touch(const Span* span) const {
    return limits_.leaves_room(used_granules(), span->count - span->touched_count);
  }

  Span* find(std::uint32_t count) {
    Span* span = touched_.find(count);
    return span != nullptr ? span : untouched_.find(count);
  }

  FreeSpans& lists_for(const Span* span) { return span->touched_count ? touched_ : untouched_; }
  void link(Span* span) { lists_for(span).add(span); }
  void unlink(Span* span) { lists_for(span).remove(span); }

  void set_ends(Span* span) {
    map_.granule(span->first).span = span;
    map_.granule(span->first + span->count - 1).span = span;
  }

  /// Notes since when all of a span has been free; 0: untouched.
  void stamp(Span* span, std::uint8_t tick) {
    for (std::uint32_t i = 0; i < span->count; ++i) {
      map_.granule(span->first + i).touched_tick = tick;
    }
    span->touched_count = tick == 0 ? 0 : span->count;
  }

  std::uint32_t count_touched(std::uint32_t first, std::uint32_t count) const {
    std::uint32_t touched = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      touched += map_.granule(first + i).touched_tick != 0 ? 1 : 0;
    }
    return touched;
  }

  Span* new_span() {
    Span* span = unused_.front();
    if (span != nullptr) {
      unused_.remove(span);
      return span;
    }
    void* memory = metadata_.allocate(sizeof(Span));
    return memory == nullptr ? nullptr : ::new (memory) Span;
  }

  void retire(Span* span) {
    span->state = SpanState::kUnused;
    unused_.push_front(span);
  }

  /// Splits an unlinked free span: `span` keeps `count` granules, the rest goes back.
  bool split_off_rest(Span* span, std::uint32_t count) {
    Span* rest = new_span();
    if (rest == nullptr) return false;
    rest->first = span->first + count;
    rest->count = span->count - count;
    rest->state = SpanState::kFree;
    const std::uint32_t touched = span->touched_count == 0 ? 0 : count_touched(span->first, count);
    rest->touched_count = span->touched_count - touched;
    span->count = count;
    span->touched_count = touched;
    set_ends(span);
    set_ends(rest);
    link(rest);
    return true;
  }

  /// Cuts the front off an unlinked span until it starts at a multiple of `align`.
  Span* trim_to_alignment(Span* span, std::uint32_t count, std::uint32_t align) {
    const std::uintptr_t unit = std::uintptr_t{align} << kGranuleShift;
    const std::uintptr_t start = address_of(map_.address(span->first));
    const auto front = static_cast<std::uint32_t>((align_up(start, unit) - start) >> kGranuleShift);
    if (front == 0) return span;
    if (span->count < front + count || !split_off_rest(span, front)) {
      link(span);
      return nullptr;
    }
    Span* aligned = free_span_starting_at(span->first + front);
    unlink(aligned);
    link(span);
    return aligned;
  }

  void claim(Span* span, SpanState state) {
    free_granules_.fetch_sub(span->count, std::memory_order_relaxed);
    touched_granules_.fetch_sub(span->touched_count, std::memory_order_relaxed);
    events_.allocated += state == SpanState::kPurging ? 0 : 1;
    span->state = state;
    span->moved_pages = false;
    unpoison(map_.address(span->first), bytes(span));
    set_ends(span);
  }

  /// Puts a span among the free ones.
  void insert(Span* span) {
    free_granules_.fetch_add(span->count, std::memory_order_relaxed);
    touched_granules_.fetch_add(span->touched_count, std::memory_order_seq_cst);  // Purger::run
    span->state = SpanState::kFree;
    merge_and_link(span);
  }

  /// Files a free span that is in no list, merged with free neighbours.
  void merge_and_link(Span* span) {
    Span* before = free_span_ending_at(span->first);
    if (before != nullptr) {
      unlink(before);
      span->first = before->first;
      span->count += before->count;
      span->touched_count += before->touched_count;
      retire(before);
    }
    Span* after = free_span_starting_at(span->first + span->count);
    if (after != nullptr) {
      unlink(after);
      span->count += after->count;
      span->touched_count += after->touched_count;
      retire(after);
    }
    set_ends(span);
    link(span);
  }

  /// The free span whose end is this granule, if there is one.
  Span* free_span_ending_at(std::size_t granule) const {
    if (granule == 0) return nullptr;
    if (map_.granule(granule - 1).pool != id_) return nullptr;
    Span* span = map_.granule(granule - 1).span;
    return span != nullptr && span->state == SpanState::kFree &&
                   span->first + span->count == granule
               ? span
               : nullptr;
  }

  /// The free span that begins at this granule, if there is one.
  Span* free_span_starting_at(std::size_t granule) const {
    if (granule >= map_.granule_count() || map_.granule(granule).pool != id_) return nullptr;
    Span* span = map_.granule(granule).span;
    return span != nullptr && span->state == SpanState::kFree && span->first == granule ? span
                                                                                        : nullptr;
  }

  /// Adds memory to the heap so that `count` granules are free in one piece at its end.
  CARREL_COLD bool extend(std::uint32_t count, Density density) {
    if (count > map_.window_granules()) return false;
    if (lender_ != nullptr) return borrow(count);
    if (map_.reserved_at_once() && end_ != 0) {
      Span* last = map_.granule(end_ - 1).span;
      if (map_.granule(end_ - 1).pool == id_ && last->state == SpanState::kFree &&
          last->count < count)
        count -= last->count;
    }
    Span* span = new_span();
    if (span == nullptr) return false;
    if (!map_.extend(count, wished_extension(count), span->first, span->count)) {
      retire(span);
      return false;
    }
    end_ = span->first + span->count;
    const std::size_t added = added_granules_.load(std::memory_order_relaxed) + span->count;
    added_granules_.store(added, std::memory_order_relaxed);
    if (huge_.wanted(added) && density == Density::kDense) {
      Os::advise_huge(map_.address(span->first), bytes(span), true);
    }
    span->touched_count = 0;
    insert(span);
    ++events_.extensions;
    CARREL_PROBE("extend", map_.address(span->first), bytes(span));
    huge_.heap_grew();
    return true;
  }

  /// An eighth of what there is: few calls for a large heap, little for a small one. Once
  /// huge pages are in use, up to the end of one.
  std::uint32_t wished_extension(std::uint32_t count) const {
    const std::size_t added = added_granules_.load(std::memory_order_relaxed);
    std::size_t wish = added / 8;
    if (wish < kMinExtension) wish = kMinExtension;
    if (wish > kMaxExtension) wish = kMaxExtension;
    if (wish < count) wish = count;
    if (huge_.wanted(added + wish)) {
      wish = align_up(end_ + wish, kHugeGranules) - end_;
    }
    return static_cast<std::uint32_t>(wish);
  }

  /// Cuts runs of stale granules out of the pool until the batch is full. In the span that
  /// contains granule `resume` only what follows it is looked at: what is purged merges with its
  /// neighbours again, and to begin at the start each time would take quadratic time.
  void take_stale(std::uint8_t age, StaleBatch& batch, std::size_t& resume) {
    for (std::uint32_t bin = touched_.next_nonempty(0); bin < FreeSpans::kBins;
         bin = touched_.next_nonempty(bin + 1)) {
      for (Span* span = touched_.front(bin); span != nullptr;) {
        Span* next = span->next;
        const bool inside = span->first < resume && resume < span->first + span->count;
        std::uint32_t from = inside ? static_cast<std::uint32_t>(resume - span->first) : 0;
        // What is left behind a run goes into other lists, perhaps before this one: it is next.
        while (span != nullptr && (span = cut_stale_run(span, age, from)) != nullptr) {
          resume = span->first + span->count;
          batch.add(span);
          if (batch.full()) return;
          span = free_span_starting_at(resume);
          from = 0;
        }
        span = next;
      }
    }
  }

  /// Takes the first stale run from granule `start` of a linked free span on; what lies before
  /// and after it stays in the pool. Null if there is none (or no description is to be had).
  CARREL_COLD Span* cut_stale_run(Span* span, std::uint8_t age, std::uint32_t start) {
    while (start < span->count && !is_stale(span->first + start, age)) ++start;
    if (start == span->count) return nullptr;
    std::uint32_t end = start + 1;
    // Long runs end where huge pages do.
    const std::uint32_t limit =
        static_cast<std::uint32_t>(align_down(span->first + start + kMaxPurgeRun, kHugeGranules)) -
        span->first;
    while (end < span->count && end < limit && is_stale(span->first + end, age)) ++end;
    unlink(span);
    const std::uint32_t first = span->first;
    if (end < span->count && !split_off_rest(span, end)) {
      merge_and_link(span);
      return nullptr;
    }
    if (start > 0) {
      if (!split_off_rest(span, start)) {
        merge_and_link(span);
        return nullptr;
      }
      link(span);
      span = free_span_starting_at(first + start);
      unlink(span);
    }
    claim(span, SpanState::kPurging);
    return span;
  }

  bool is_stale(std::uint32_t granule, std::uint8_t age) const {
    const std::uint8_t freed = map_.granule(granule).touched_tick;
    return freed != 0 && ticks_between(freed, now()) >= age;
  }

  /// Gives one span's pages back and returns it to the pool; 0 if the system refuses.
  CARREL_COLD std::size_t purge_span(Span* span) {
    if (lender_ != nullptr) return purge_borrowed(span);
    keep_huge_pages_apart(map_.address(span->first), bytes(span));
    CARREL_PROBE("purge", map_.address(span->first), bytes(span));
    const bool gone = Os::purge(map_.address(span->first), bytes(span));
    const std::uint32_t count = span->count;
    LockGuard guard(lock_);
    stamp(span, gone ? std::uint8_t{0} : now());
    insert(span);
    ++events_.purges;
    if (gone) purged_granules_.fetch_add(count, std::memory_order_relaxed);
    return gone ? count : 0;
  }

  CARREL_COLD bool borrow(std::uint32_t count);
  CARREL_COLD std::size_t purge_borrowed(Span* span);
  bool restore(Span* span);
  void set_pool(const Span* span, std::uint32_t id) {
    for (std::uint32_t i = 0; i < span->count; ++i) map_.granule(span->first + i).pool = id;
  }

  static constexpr std::uint32_t kHugeGranules = HugePages<Os>::kGranules;
  /// One call to the system takes about as long as a time slice at most.
  static constexpr std::uint32_t kMaxPurgeRun = 4 * kMiB >> kGranuleShift;

  PageMap<Os>& map_;
  MetadataArena<Os>& metadata_;
  SpanPool* const lender_ = nullptr;  // null: the heap's own
  const std::uint32_t id_ = 0;
  Backing backing_;  // guarded by both locks; of one that borrows
  Mutex<Os> purging_;
  Mutex<Os> lock_;  // guards everything below and the granule array
  FreeSpans touched_;
  FreeSpans untouched_;
  IntrusiveList<Span> unused_;
  PoolEvents events_;
  std::uint32_t end_ = 0;  // one past the last granule added
  // Written by whoever keeps the time; a stale value only shifts a purge by a tick.
  std::atomic<std::uint8_t> tick_{1};
  HugePages<Os> huge_;
  PoolLimits limits_;
  // Statistics, written under the lock, read without: relaxed suffices but for insert().
  std::atomic<std::size_t> added_granules_{0};
  std::atomic<std::size_t> free_granules_{0};
  std::atomic<std::size_t> touched_granules_{0};
  std::atomic<std::size_t> purged_granules_{0};
};

}  // namespace carrel::core
