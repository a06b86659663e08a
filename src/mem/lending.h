// Pools that borrow: an arena's own, with a decay, limits or pages of its own.
//
// Basic design: such a pool is a SpanPool whose memory is lent by the heap's: in use, to the
// lender, whatever the borrower does with it. Each granule says whose it is, so that free spans
// merge with those of the same pool only; that changes under the lender's lock, for spans that are
// not free. Without a backing, what is purged goes home at once, and nothing more is borrowed than
// is needed: the borrower is where freed memory rests. With one, memory stays until return_all(),
// which replaces it by the heap's own kind.
//
// The second half of span_pool.h. A borrower's lock comes before its lender's.
#pragma once

#include "mem/span_pool.h"

namespace carrel::core {

/// A span in use, for the pool of this number; null when memory is exhausted.
template <OsLayer Os>
Span* SpanPool<Os>::lend(std::uint32_t count, std::uint32_t align_granules, std::uint32_t to) {
  Span* span = allocate(count, align_granules, SpanState::kLarge);
  if (span == nullptr) return nullptr;
  LockGuard guard(lock_);
  set_pool(span, to);
  return span;
}

template <OsLayer Os>
void SpanPool<Os>::take_back(Span* span, bool known_zero) {
  LockGuard guard(lock_);
  set_pool(span, id_);
  stamp(span, known_zero ? std::uint8_t{0} : now());
  insert(span);
}

/// Under the lock.
template <OsLayer Os>
bool SpanPool<Os>::borrow(std::uint32_t count) {
  const bool backed = backing_.commit != nullptr;
  if (backed && backing_.only_once && added_granules() != 0) return false;
  count = static_cast<std::uint32_t>(align_up(count, backing_.unit));
  Span* span = lender_->lend(count, backing_.unit, id_);
  if (span == nullptr) return false;
  if (backed) {
    if (!backing_.commit(backing_.context, map_.address(span->first), bytes(span))) {
      if (restore(span)) lender_->take_back(span, true);
      return false;
    }
    stamp(span, backing_.reads_as_zero ? std::uint8_t{0} : now());
  } else {
    span->touched_count = count_touched(span->first, span->count);
  }
  added_granules_.fetch_add(span->count, std::memory_order_relaxed);
  insert(span);
  ++events_.extensions;
  return true;
}

/// Makes it the heap's own kind of memory again, which reads as zero. False: refused, it cannot go
/// home.
template <OsLayer Os>
bool SpanPool<Os>::restore(Span* span) {
  if (!Os::fresh_pages(map_.address(span->first), bytes(span))) return false;
  if (lender_->huge_.wanted(lender_->added_granules())) {
    Os::advise_huge(map_.address(span->first), bytes(span), true);  // as its neighbours are
  }
  return true;
}

template <OsLayer Os>
std::size_t SpanPool<Os>::purge_borrowed(Span* span) {
  char* start = map_.address(span->first);
  const std::uint32_t count = span->count;
  bool gone = false;
  if (backing_.commit == nullptr) {
    lender_->keep_huge_pages_apart(start, bytes(span));
    gone = Os::purge(start, bytes(span));
  } else {
    gone = backing_.purge != nullptr && backing_.purge(backing_.context, start, bytes(span));
  }
  if (gone) purged_granules_.fetch_add(count, std::memory_order_relaxed);
  if (gone && backing_.commit == nullptr) {
    added_granules_.fetch_sub(count, std::memory_order_relaxed);
    lender_->take_back(span, true);
    return count;
  }
  LockGuard guard(lock_);
  stamp(span, gone ? std::uint8_t{0} : now());
  insert(span);
  ++events_.purges;
  return gone ? count : 0;
}

template <OsLayer Os>
void SpanPool<Os>::return_all() {
  LockGuard out_of_the_pool(purging_);
  LockGuard guard(lock_);
  for (FreeSpans* lists : {&touched_, &untouched_}) {
    for (std::uint32_t bin = lists->next_nonempty(0); bin < FreeSpans::kBins;
         bin = lists->next_nonempty(bin)) {
      Span* span = lists->front(bin);
      lists->remove(span);
      claim(span, SpanState::kLarge);
      added_granules_.fetch_sub(span->count, std::memory_order_relaxed);
      const bool backed = backing_.commit != nullptr;
      if (backed && backing_.release != nullptr) {
        backing_.release(backing_.context, map_.address(span->first), bytes(span));
      }
      // What is no longer the heap's kind of memory and cannot be made so is nobody's for ever.
      if (!backed || restore(span)) lender_->take_back(span, backed);
    }
  }
}

}  // namespace carrel::core
