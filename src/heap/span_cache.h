// Spans of large blocks that were just freed, kept for the next block of the same length.
//
// Basic design: a few drawers, to which threads are dealt as they are to shards. A drawer holds a
// stack of spans for each length up to 1 MiB, and little altogether: a 16th of the heap, at most
// 2 MiB. So threads that work with blocks of such sizes seldom meet at the span pool's lock, and
// spans need not be split and merged each time. What a drawer did not need since the last tick goes
// back to the pool, so that it can serve other lengths, and decays there: while the purger is at
// work, which too little to give back does not start.
//
// Thread-safe: each drawer has a lock, of the rank of the slab bins', after all of these. Under it
// the blocks that pass are counted too, which would cost each two more operations on memory that
// all threads write. What a drawer holds is out of the program's hands, and dirty.
#pragma once

#include "mem/lending.h"
#include "slab/size_class.h"

namespace carrel::core {

template <OsLayer Os>
class SpanCache {
 public:
  constexpr explicit SpanCache(SpanPool<Os>& pool) : pool_(pool) {}
  SpanCache(const SpanCache&) = delete;
  SpanCache& operator=(const SpanCache&) = delete;

  /// Whether spans of this length pass through here.
  static bool serves(std::size_t granules) { return granules <= kMaxLength; }

  /// A span of exactly so many granules, which it serves, or null. Counts a block of so many bytes
  /// in either case.
  Span* take(std::uint32_t shard, std::size_t granules, std::size_t bytes) {
    Drawer& drawer = drawer_of(shard);
    LockGuard guard(drawer.lock);
    drawer.count(1, bytes);
    return drawer.pop(granules);
  }

  /// False: there is no room, and the span, of a length that it serves, remains the caller's. The
  /// block is no longer counted in either case.
  bool keep(std::uint32_t shard, Span* span) {
    Drawer& drawer = drawer_of(shard);
    std::size_t most = pool_.added_granules() / kHeapShare;
    if (most > kMostGranules) most = kMostGranules;
    LockGuard guard(drawer.lock);
    drawer.count(-std::size_t{1}, -span->large_bytes);
    if (span->moved_pages) return false;
    const std::size_t held = drawer.granules.load(std::memory_order_relaxed);
    if (held + span->count > most) return false;
    drawer.push(span);
    return true;
  }

  /// Gives back what nobody needed since the last call. Returns the granules.
  std::size_t release_idle() {
    return release([](Stack& stack) {
      const std::uint32_t idle = stack.least;
      stack.least = stack.depth - idle;
      return idle;
    });
  }

  /// Gives everything back.
  std::size_t release_all() {
    return release([](Stack& stack) {
      stack.least = 0;
      return stack.depth;
    });
  }

  /// What is kept now. Exact only while nobody uses it.
  std::size_t granules() const {
    std::size_t sum = 0;
    for (const Drawer& drawer : drawers_) sum += drawer.granules.load(std::memory_order_relaxed);
    return sum;
  }

  /// Blocks that took a span here, less those that gave one back; and their bytes. A block may
  /// come and go by different drawers, so that only the sums, which wrap around, mean anything.
  std::size_t blocks() const {
    std::size_t sum = 0;
    for (const Drawer& drawer : drawers_) sum += drawer.blocks.load(std::memory_order_relaxed);
    return sum;
  }
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Drawer& drawer : drawers_) sum += drawer.bytes.load(std::memory_order_relaxed);
    return sum;
  }

  void lock() {
    for (Drawer& drawer : drawers_) drawer.lock.lock();
  }
  void unlock() {
    for (Drawer& drawer : drawers_) drawer.lock.unlock();
  }
  void reset_after_fork() {
    for (Drawer& drawer : drawers_) drawer.lock.reset_after_fork();
  }

 private:
  static constexpr std::uint32_t kDrawers = 16;
  static constexpr std::uint32_t kMaxLength = 1 * kMiB >> kGranuleShift;
  static constexpr std::size_t kMostGranules = 2 * kMiB >> kGranuleShift;
  static constexpr std::size_t kHeapShare = 16;

  /// Spans of one length, linked by `next`.
  struct Stack {
    Span* top = nullptr;
    std::uint32_t depth = 0;
    std::uint32_t least = 0;  // depth since the last tick
  };

  struct alignas(kCacheLineBytes) Drawer {
    Mutex<Os> lock;
    // Written under the lock; statistics read them without it.
    std::atomic<std::uint32_t> granules{0};
    std::atomic<std::size_t> blocks{0};
    std::atomic<std::size_t> bytes{0};
    Stack stacks[kMaxLength];

    Span* pop(std::size_t length) {
      Stack& stack = stacks[length - 1];
      Span* span = stack.top;
      if (span == nullptr) return nullptr;
      stack.top = span->next;
      if (--stack.depth < stack.least) stack.least = stack.depth;
      add(-span->count);
      span->next = nullptr;
      return span;
    }
    void push(Span* span) {
      Stack& stack = stacks[span->count - 1];
      span->next = stack.top;
      stack.top = span;
      ++stack.depth;
      add(span->count);
    }
    void add(std::uint32_t count) {
      granules.store(granules.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
    }
    void count(std::size_t more_blocks, std::size_t more_bytes) {
      blocks.store(blocks.load(std::memory_order_relaxed) + more_blocks, std::memory_order_relaxed);
      bytes.store(bytes.load(std::memory_order_relaxed) + more_bytes, std::memory_order_relaxed);
    }
  };

  Drawer& drawer_of(std::uint32_t shard) { return drawers_[shard % kDrawers]; }

  /// Gives back how_many(stack) spans of each stack, under the drawer's lock: a fork in between
  /// would lose them to the child.
  template <class HowMany>
  std::size_t release(HowMany how_many) {
    std::size_t released = 0;
    for (Drawer& drawer : drawers_) {
      if (drawer.granules.load(std::memory_order_relaxed) == 0) continue;
      LockGuard guard(drawer.lock);
      for (std::uint32_t length = 1; length <= kMaxLength; ++length) {
        for (std::uint32_t left = how_many(drawer.stacks[length - 1]); left > 0; --left) {
          released += length;
          pool_.release(drawer.pop(length));
        }
      }
    }
    return released;
  }

  SpanPool<Os>& pool_;
  Drawer drawers_[kDrawers];
};

}  // namespace carrel::core
