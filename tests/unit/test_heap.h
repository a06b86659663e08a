// A whole heap on the simulated system, what the process would give it (TestTls), threads
// that are simulated by exchanging thread pointers, and the account of all its memory.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fake_os_test.h"
#include "heap/heap_slow.h"
#include "heap/stats.h"
#include "pool_walker.h"

namespace carrel::core {

struct TestTls;
using FakeHeap = Heap<kDefault, FakeOs, TestTls>;

/// Stands in for ProcessTls of api/instance.h, and counts.
struct TestTls {
  static FakeHeap& heap() { return *current_heap; }
  static ThreadCache* cache() { return current; }
  static void set_cache(ThreadCache* cache) {
    current = cache;
    if (on_set_cache) on_set_cache();
  }
  static void use_cache(ThreadCache* cache) { current = cache; }
  static bool may_attach() { return !exiting; }
  static bool try_again(std::size_t, std::size_t, std::uint32_t) { return false; }
  static void before_ready() { ++times_before_ready; }
  static void after_ready(const Options&) {
    ++times_after_ready;
    if (on_after_ready) on_after_ready();
  }
  static void read_options(Options& options) {
    ++times_options_read;
    parse_options(options, TextView(options_text.data(), options_text.size()),
                  [](TextView, TextView, OptionError) { ++complaints; });
  }
  static void purger_entry() { heap().run_purger(); }

  static void reset() {
    current = &empty_cache;
    current_heap = nullptr;
    exiting = false;
    times_before_ready = times_after_ready = times_options_read = complaints = 0;
    options_text.clear();
    on_set_cache = on_after_ready = nullptr;
  }

  static inline thread_local ThreadCache* current = &empty_cache;
  static inline thread_local bool exiting = false;
  static inline FakeHeap* current_heap = nullptr;
  static inline std::atomic<int> times_before_ready{0};
  static inline std::atomic<int> times_after_ready{0};
  static inline std::atomic<int> times_options_read{0};
  static inline std::atomic<int> complaints{0};
  static inline std::string options_text;
  static inline std::function<void()> on_set_cache;
  static inline std::function<void()> on_after_ready;
};

/// A request as api/ makes it, but without errno.
inline void* heap_malloc_slow(std::size_t size) { return TestTls::heap().allocate_slow(size); }
inline void* heap_malloc(std::size_t size) {
  return TestTls::heap().malloc<heap_malloc_slow>(size);
}

/// A thread of the program that runs when run() is called, on the test's own thread.
class VirtualThread {
 public:
  template <class Body>
  auto run(Body body) {
    struct Exchange {
      explicit Exchange(VirtualThread& thread) : mine(thread) { swap(); }
      ~Exchange() { swap(); }
      void swap() {
        std::swap(mine.cache_, TestTls::current);
        std::swap(mine.exiting_, TestTls::exiting);
      }
      VirtualThread& mine;
    } exchange(*this);
    return body();
  }

  /// What happens when a thread ends: its destructors may allocate afterwards.
  void exit(FakeHeap& heap) {
    run([&] {
      ThreadCache* cache = FakeHeap::own_cache();
      TestTls::current = &empty_cache;
      TestTls::exiting = true;
      if (cache->attached) heap.detach_thread(cache);
    });
  }

 private:
  ThreadCache* cache_ = &empty_cache;
  bool exiting_ = false;
};

inline HeapStats stats_of(FakeHeap& heap) {
  HeapStats stats;
  gather_stats(stats, heap.shards(), heap.registry(), heap.large(), heap.spans(), heap.pool(),
               heap.metadata());
  return stats;
}

/// The address space that a heap should hold, by the books of its parts.
inline std::size_t accounted_bytes(FakeHeap& heap) {
  const std::size_t page = FakeOs::page_bytes();
  const std::size_t granules = heap.map().window_granules();
  std::size_t bytes = align_up(granules, page) + align_up(granules * sizeof(Granule), page);
  bytes += heap.map().reserved_at_once() ? granules << kGranuleShift
                                         : heap.pool().totals().added << kGranuleShift;
  bytes += align_up(heap.shards().count() * kClassCount * sizeof(SlabBin<FakeOs>), page);
  return bytes + heap.metadata().mapped_bytes();
}

class HeapFixture : public FakeOsTest {
 public:  // also for functions that the system calls back
  HeapFixture() { renew(); }
  ~HeapFixture() override { TestTls::reset(); }

  /// A fresh system and a fresh heap, unused.
  void renew() {
    FakeOs::reset();
    TestTls::reset();
    heap_ = std::make_unique<FakeHeap>();
    TestTls::current_heap = heap_.get();
  }

  char* allocate(std::size_t size) { return static_cast<char*>(heap_malloc(size)); }

  /// All `count` blocks of a size, written to.
  std::vector<char*> allocate_many(std::size_t count, std::size_t size) {
    std::vector<char*> blocks;
    for (std::size_t i = 0; i < count; ++i) {
      blocks.push_back(allocate(size));
      if (blocks.back() == nullptr) throw std::bad_alloc();  // ends the test
      memset(blocks.back(), 1, size);
    }
    return blocks;
  }
  void free_all(const std::vector<char*>& blocks) {
    for (char* block : blocks) heap_->free(block);
  }

  /// Ends the test's own thread as far as the heap knows it.
  void detach() {
    ThreadCache* cache = FakeHeap::own_cache();
    TestTls::current = &empty_cache;
    if (cache->attached) heap_->detach_thread(cache);
  }

  std::size_t touched_bytes() const { return heap_->pool().totals().touched << kGranuleShift; }

  /// With every block freed and every thread gone: nothing is left, nothing leaks.
  void expect_clean() {
    detach();
    heap_->purge();
    const HeapStats stats = stats_of(*heap_);
    EXPECT_EQ(stats.live_blocks, 0u);
    EXPECT_EQ(stats.live_bytes, 0u);
    EXPECT_EQ(stats.cached_bytes, 0u);
    EXPECT_EQ(stats.slab_bytes, 0u);
    EXPECT_EQ(stats.large_blocks, 0u);
    EXPECT_EQ(stats.large_bytes, 0u);
    EXPECT_EQ(stats.threads, 0u);
    EXPECT_EQ(stats.free_bytes, stats.heap_bytes);
    EXPECT_EQ(stats.touched_bytes, 0u);
    if (heap_->ready()) {
      EXPECT_EQ(FakeOs::address_space_bytes(), accounted_bytes(*heap_)) << "address space leaks";
    }
    EXPECT_EQ(walk_pool(heap_->map(), heap_->pool()).in_use, 0u);
  }

  std::unique_ptr<FakeHeap> heap_;
};

}  // namespace carrel::core
