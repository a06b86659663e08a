// A hardened heap whole, on the simulated system: a program of every kind of request meets a
// refusal at the Nth call for every N, with as many blocks sampled as can be. Misuse has its tests
// in tests/death and beside the parts.
#include <random>

#include "fake_os_test.h"
#include "heap/hardened_heap.h"
#include "heap/heap_slow.h"
#include "heap/sampled_heap.h"
#include "heap/stats.h"
#include "sanitizers.h"

namespace carrel::core {
namespace {

consteval Config sampling_often() {
  Config config = kSecure;
  config.guard_sample = 1;
  return config;
}

struct HardTls;
using HardHeap = Heap<sampling_often(), FakeOs, HardTls>;

/// What the process would give; one thread at a time.
struct HardTls {
  static HardHeap& heap() { return *current_heap; }
  static ThreadCache* cache() { return current; }
  static void set_cache(ThreadCache* cache) { current = cache; }
  static void use_cache(ThreadCache* cache) { current = cache; }
  static bool may_attach() { return true; }
  static bool try_again(std::size_t, std::size_t, std::uint32_t) { return false; }
  static void before_ready() {}
  static void after_ready(const Options&) {}
  static void read_options(Options&) {}
  static void purger_entry() { heap().run_purger(); }
  static void memory_fault(const MemoryFault&) {}

  static inline thread_local ThreadCache* current = &empty_cache;
  static inline HardHeap* current_heap = nullptr;
};

void* plain_slow(std::size_t size) { return HardTls::heap().allocate_slow(size); }

class HardenedHeapTest : public FakeOsTest {
 protected:
  HardenedHeapTest() { renew(); }
  ~HardenedHeapTest() override { forget(); }

  void forget() {
    blocks_.clear();
    heap_.reset();
    HardTls::current = &empty_cache;
    HardTls::current_heap = nullptr;
  }
  void renew() {
    forget();
    FakeOs::reset();
    heap_ = std::make_unique<HardHeap>();
    HardTls::current_heap = heap_.get();
  }

  struct Block {
    char* start;
    std::size_t size;
    std::size_t alignment;
    char stamp;
  };

  char* malloc(std::size_t size) { return static_cast<char*>(heap_->malloc<plain_slow>(size)); }

  bool is_sampled(const char* block) { return heap_->map().class_of(block) == kGuardedBlock; }

  static void check(const Block& block, std::size_t size) {
    for (std::size_t i = 0; i<size; i += size> 4096 ? 509 : 1) {
      ASSERT_EQ(block.start[i], block.stamp) << "byte " << i << " of " << block.size;
    }
  }

  void keep(void* start, std::size_t size, std::size_t alignment, bool zero) {
    const auto stamp = static_cast<char>(random_() % 255 + 1);
    const Block block{static_cast<char*>(start), size, alignment, stamp};
    EXPECT_EQ(address_of(start) % alignment, 0u);
    EXPECT_GE(heap_->usable_size(start), size);
    heap_->check_size(start, size);  // as a sized delete does
    if (zero) check({block.start, size, alignment, 0}, size);
    memset(start, stamp, size);
    blocks_.push_back(block);
    sampled_ += is_sampled(block.start) ? 1 : 0;
  }

  /// One request; false if it was refused.
  bool step() {
    const unsigned what = static_cast<unsigned>(random_() % 100);
    const unsigned kind = static_cast<unsigned>(random_() % 64);
    const std::size_t size = random_() % (kind == 0 ? 200'000 : kind < 8 ? 3000 : 100) + 1;
    if (what < 30 || blocks_.empty()) {
      char* start = malloc(size);
      if (start == nullptr) return false;
      keep(start, size, kSlotAlignment, false);
    } else if (what < 38) {
      void* start = heap_->zero_allocate(size);
      if (start == nullptr) return false;
      keep(start, size, kSlotAlignment, true);
    } else if (what < 46) {
      const std::size_t alignment = std::size_t{16} << random_() % 10;
      void* start = heap_->aligned_allocate(alignment, size);
      if (start == nullptr) return false;
      keep(start, size, alignment, false);
    } else if (what < 60) {
      return resize(random_() % blocks_.size(), size);
    } else if (what < 97) {
      release(random_() % blocks_.size());
    } else if (what < 98) {
      FakeOs::advance_ms(random_() % 900);
      FakeOs::run_thread();
    } else if (what < 99) {
      heap_->purge();
    } else {
      std::swap(other_, HardTls::current);
    }
    return true;
  }

  bool resize(std::size_t index, std::size_t size) {
    Block block = blocks_[index];
    auto* start = static_cast<char*>(heap_->reallocate(block.start, size, block.alignment));
    if (start == nullptr) {
      check(block, block.size);  // as it was
      return false;
    }
    block.start = start;
    check(block, size < block.size ? size : block.size);
    heap_->check_size(start, size);
    memset(start, block.stamp, size);
    block.size = size;
    blocks_[index] = block;
    return true;
  }

  void release(std::size_t index) {
    const Block block = blocks_[index];
    check(block, block.size);
    heap_->check_size(block.start, block.size);
    heap_->free(block.start);
    blocks_[index] = blocks_.back();
    blocks_.pop_back();
  }

  void detach() {
    ThreadCache* cache = HardHeap::own_cache();
    HardTls::current = &empty_cache;
    if (cache->attached) heap_->detach_thread(cache);
  }

  /// Frees everything, ends both threads: nothing may be left but what classes keep for ever.
  void finish() {
    while (!blocks_.empty()) release(blocks_.size() - 1);
    detach();
    std::swap(other_, HardTls::current);
    detach();
    heap_->purge();
    HeapStats stats;
    gather_stats(stats, heap_->shards(), heap_->registry(), heap_->large(), heap_->spans(),
                 heap_->pool(), heap_->metadata());
    EXPECT_EQ(stats.live_blocks, 0u);
    EXPECT_EQ(stats.large_blocks, 0u);
    EXPECT_EQ(stats.large_bytes, 0u);
    EXPECT_EQ(stats.threads, 0u);
    const GuardedTotals slots = heap_->guarded_slots().totals();
    EXPECT_EQ(slots.live_blocks, 0u);
    EXPECT_EQ(slots.live_page_bytes, 0u);
  }

  std::unique_ptr<HardHeap> heap_;
  std::mt19937_64 random_{7};
  std::vector<Block> blocks_;
  ThreadCache* other_ = &empty_cache;
  std::size_t sampled_ = 0;
};

TEST_F(HardenedHeapTest, AProgramRunsWithManyOfItsBlocksSampled) {
  for (int i = 0; i < 5000; ++i) ASSERT_TRUE(step()) << i;
  EXPECT_GT(sampled_, 50u);
  EXPECT_GE(heap_->guarded_slots().totals().sampled, sampled_);  // and those made by reallocate
  finish();
}

TEST_F(HardenedHeapTest, WithoutASlotBlocksAreServedAllTheSame) {
  // All slots are taken and stay so; then the system fences nothing more.
  for (int i = 0; i < 2000; ++i) {
    char* block = malloc(40);
    ASSERT_NE(block, nullptr);
    keep(block, 40, kSlotAlignment, false);
  }
  EXPECT_EQ(sampled_, HardHeap::kHard.guarded_slots);
  finish();
  FakeOs::settings.refuse_fences = true;
  sampled_ = 0;
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(step()) << i;
  finish();
}

TEST_F(HardenedHeapTest, ASampledBlockThatShrinksWhereItIsKeepsItsBooks) {
  while (sampled_ == 0) keep(malloc(2000), 2000, kSlotAlignment, false);
  const Block block = blocks_.back();
  ASSERT_TRUE(is_sampled(block.start));
  // No memory for the shorter block: the class has no slab yet, and none is to be had.
  FakeOs::fail_call(1, true);
  std::vector<char*> rest;
  while (char* other = malloc(600)) rest.push_back(other);
  ASSERT_EQ(heap_->reallocate(block.start, 600, kSlotAlignment), block.start);
  FakeOs::fail_call(0);
  EXPECT_EQ(heap_->usable_size(block.start), 600u);
  heap_->check_size(block.start, 600);
  blocks_.back().size = 600;
  for (char* other : rest) heap_->free(other);
  finish();
}

TEST_F(HardenedHeapTest, ALargeBlockWhoseFencesCannotBeUndoneKeepsNoMemory) {
  char* block = malloc(500'000);
  memset(block, 1, 500'000);
  EXPECT_GE(FakeOs::resident_bytes(block, 503'808), 500'000u);
  FakeOs::settings.refuse_fences = true;
  FakeOs::fail_call(2);  // the block is not fenced, and what is around it not opened
  heap_->free(block);
  FakeOs::fail_call(0);
  FakeOs::settings.refuse_fences = false;
  EXPECT_EQ(FakeOs::resident_bytes(block, 503'808), 0u);
  finish();
}

TEST_F(HardenedHeapTest, TheNthCallFailsForEveryN) {
  constexpr int kSteps = 600;
  for (const bool lasting : {false, true}) {
    const std::uint64_t stride = (kSanitized ? 23 : 1) * (lasting ? 3 : 1);
    std::uint64_t nth = 1;
    std::uint64_t sampled_before_failure = 0;
    for (;; nth += stride) {
      SCOPED_TRACE("call " + std::to_string(nth) + (lasting ? " and all after" : ""));
      renew();
      random_.seed(11);
      sampled_ = 0;
      FakeOs::fail_call(nth, lasting);
      int left = kSteps;
      while (left > 0 && FakeOs::failures() == 0) {
        const bool served = step();
        EXPECT_TRUE(served || FakeOs::failures() != 0) << "refused, and the system did not";
        --left;
      }
      const bool met = FakeOs::failures() != 0;
      sampled_before_failure = sampled_;
      for (int i = 0; lasting && i < 50; ++i) step();
      for (const Block& block : blocks_) check(block, block.size);
      FakeOs::fail_call(0);
      for (; left > 0; --left) ASSERT_TRUE(step()) << "refused although there is memory again";
      finish();
      if (HasFailure() || !met) break;
      ASSERT_LT(nth, 20'000u);
    }
    EXPECT_GT(nth, 100u) << "hardly any call is refused";
    EXPECT_GT(sampled_before_failure, 10u);
  }
}

}  // namespace
}  // namespace carrel::core
