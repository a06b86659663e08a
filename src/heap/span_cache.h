// Spans of large blocks that were just freed, kept for the next block of the same length.
//
// Basic design: each thread keeps a few spans of up to 1 MiB (cache/kept_spans.h), and little
// altogether: 3 MiB at most, and all threads a quarter of the heap. So threads that work with
// blocks of such sizes take no lock and seldom meet; spans need not be split and merged each time.
// What a thread did not need for a tick goes back to the pool, so that it can serve other lengths
// and threads, and decays there: while the purger is at work, which too little to give back does
// not start.
//
// The class map goes on calling such a span a large block's: its bytes for neighbouring blocks,
// which may be other threads', share cache lines, so they are not written each time. The span's
// state tells. What is kept is out of the program's hands, and dirty.
//
// take() and keep() belong to the thread whose cache is handed in; the rest is thread-safe.
#pragma once

#include "cache/thread_registry.h"
#include "mem/lending.h"

namespace carrel::core {

template <OsLayer Os>
class SpanCache {
 public:
  constexpr SpanCache(PageMap<Os>& map, SpanPool<Os>& pool, ThreadRegistry<Os>& registry)
      : map_(map), pool_(pool), registry_(registry) {}
  SpanCache(const SpanCache&) = delete;
  SpanCache& operator=(const SpanCache&) = delete;

  /// No larger block's span is kept.
  static constexpr std::size_t kMostBytes = std::size_t{KeptSpans::kMaxLength} << kGranuleShift;

  /// A large block's span of exactly so many granules, of at most that, or null.
  Span* take(ThreadCache& cache, std::size_t granules) {
    Span* span = cache.kept.pop(granules);
    if (span != nullptr) span->state = SpanState::kLarge;
    return span;
  }

  /// Whether keep() may be called with a span of this length.
  bool has_room(ThreadCache& cache, std::size_t granules) const {
    return cache.attached && granules <= KeptSpans::kMaxLength &&
           may_hold(cache.kept.granules() + granules) && cache.kept.has_place(granules);
  }
  /// Keeps a span in state kKept.
  void keep(ThreadCache& cache, Span* span) { cache.kept.push(span); }

  /// Gives back to the pool what nobody needed since the last call. Returns the granules.
  std::size_t release_idle() { return release(false); }
  /// Gives everything back.
  std::size_t release_all() { return release(true); }

  /// A thread's cache is about to go: gives its spans back, and remembers its numbers.
  void leave(ThreadCache& cache) {
    registry_.alone([&] { cache.kept.take(true, [this](Span* span) { release(span); }); });
    gone_blocks_.fetch_add(cache.kept.blocks, std::memory_order_relaxed);
    gone_bytes_.fetch_add(cache.kept.bytes, std::memory_order_relaxed);
    cache.kept.blocks = 0;
    cache.kept.bytes = 0;
  }

  /// What is kept now. Exact only while nobody uses it, as are the two below.
  std::size_t granules() const {
    return sum([](const KeptSpans& kept) { return kept.granules(); });
  }
  /// Blocks and bytes that came from here less those that came to here, which wraps around.
  std::size_t blocks() const {
    return gone_blocks_.load(std::memory_order_relaxed) +
           sum([](const KeptSpans& kept) -> std::size_t { return kept.blocks; });
  }
  std::size_t bytes() const {
    return gone_bytes_.load(std::memory_order_relaxed) +
           sum([](const KeptSpans& kept) -> std::size_t { return kept.bytes; });
  }

 private:
  friend struct HeapLayoutTable;  // says where these are: api/heap_layout.cc
  static constexpr std::size_t kMostGranules = 3 * kMiB >> kGranuleShift;
  static constexpr std::size_t kHeapShare = 4;
  static constexpr std::size_t kFewestThreads = 2;  // what a lone thread's share is reckoned by
  // However small the heap: a span or a few for each of the first threads.
  static constexpr std::size_t kLeastGranules = 4;
  static constexpr std::size_t kLeastOfAll = 64;

  /// Whether one thread may keep so many granules.
  bool may_hold(std::size_t granules) const {
    std::size_t threads = registry_.count();
    if (threads < kFewestThreads) threads = kFewestThreads;
    if (granules <= kLeastGranules && granules * threads <= kLeastOfAll) return true;
    return granules <= kMostGranules && granules * threads * kHeapShare <= pool_.added_granules();
  }

  void release(Span* span) {
    map_.set_class(span->first, kNotOurs);
    pool_.release(span);
  }

  CARREL_COLD std::size_t release(bool all) {
    std::size_t released = 0;
    registry_.for_each([&](ThreadCache& cache) {
      cache.kept.take(all, [&](Span* span) {
        released += span->count;
        release(span);
      });
    });
    return released;
  }

  template <class Part>
  std::size_t sum(Part part) const {
    std::size_t total = 0;
    registry_.for_each([&](const ThreadCache& cache) { total += part(cache.kept); });
    return total;
  }

  PageMap<Os>& map_;
  SpanPool<Os>& pool_;
  ThreadRegistry<Os>& registry_;
  std::atomic<std::size_t> gone_blocks_{0};  // of threads that are gone
  std::atomic<std::size_t> gone_bytes_{0};
};

}  // namespace carrel::core
