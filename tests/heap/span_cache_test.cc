// heap/span_cache.h: what is kept for the next large block, for how long, and that nothing is lost.
#include "heap/span_cache.h"

#include <thread>
#include <vector>

#include "test_heap.h"

namespace carrel::core {
namespace {

class SpanCacheTest : public HeapFixture {
 protected:
  std::size_t kept() const { return heap_->spans().granules(); }
  /// A heap large enough that a drawer may keep something.
  void grow(std::size_t mib) { heap_->free(allocate(mib * kMiB)); }
};

TEST_F(SpanCacheTest, TheNextBlockOfTheSameLengthGetsTheSpan) {
  grow(64);
  char* block = allocate(200'000);
  heap_->free(block);
  EXPECT_EQ(kept(), 4u);
  EXPECT_NE(allocate(100'000), block) << "another length";
  EXPECT_EQ(kept(), 4u);
  EXPECT_EQ(allocate(250'000), block);
  EXPECT_EQ(kept(), 0u);
}

TEST_F(SpanCacheTest, WhatItKeepsIsCountedAsCachedAndNotAsLive) {
  grow(64);
  const HeapStats before = stats_of(*heap_);
  heap_->free(allocate(200'000));
  const HeapStats after = stats_of(*heap_);
  EXPECT_EQ(after.large_blocks, before.large_blocks);
  EXPECT_EQ(after.large_bytes, before.large_bytes);
  EXPECT_EQ(after.cached_bytes, before.cached_bytes + 4 * kGranuleBytes);
}

TEST_F(SpanCacheTest, ASmallHeapKeepsLittle) {
  free_all(allocate_many(20, 100'000));
  EXPECT_GE(kept(), 4u);
  EXPECT_LE(kept() * 8, heap_->pool().added_granules() + 32);
}

TEST_F(SpanCacheTest, ALargeHeapKeepsAtMostThreeMebibytesAThread) {
  grow(512);
  free_all(allocate_many(100, 200'000));
  free_all(allocate_many(100, 100'000));
  EXPECT_LE(kept() << kGranuleShift, 3 * kMiB);
  EXPECT_GE(kept() << kGranuleShift, 2 * kMiB);
}

TEST_F(SpanCacheTest, ManyThreadsKeepAQuarterOfTheHeapTogether) {
  grow(64);
  std::vector<VirtualThread> threads(40);
  for (VirtualThread& thread : threads) {
    thread.run([&] { allocate(16); });
  }
  for (VirtualThread& thread : threads) {
    thread.run([&] { free_all(allocate_many(20, 100'000)); });
  }
  EXPECT_LE(kept() * 4, heap_->pool().added_granules());
  EXPECT_GT(kept(), 0u);
  for (VirtualThread& thread : threads) thread.exit(*heap_);
  EXPECT_EQ(kept(), 0u) << "a thread that ends leaves nothing behind";
  EXPECT_EQ(stats_of(*heap_).large_blocks, 0u);
}

TEST_F(SpanCacheTest, ABlockThatWasFreedIsNoBlock) {
  grow(64);
  char* block = allocate(200'000);
  heap_->free(block);
  ASSERT_EQ(kept(), 4u);
  expect_report("double-free", block, [&] { heap_->free(block); });
  expect_report("double-free", block, [&] { heap_->usable_size(block); });
  expect_report("double-free", block, [&] { heap_->reallocate(block, 300'000, 16); });
  expect_report("double-free", block + kGranuleBytes, [&] { heap_->free(block + kGranuleBytes); });
  expect_report("interior-pointer", block + 16, [&] { heap_->free(block + 16); });
}

TEST_F(SpanCacheTest, ZerosAreZeroAlsoFromAUsedSpan) {
  grow(64);
  char* block = allocate(200'000);
  memset(block, 'x', 200'000);
  heap_->free(block);
  auto* zeros = static_cast<char*>(heap_->zero_allocate(200'000));
  EXPECT_EQ(zeros, block);
  for (std::size_t i = 0; i < 200'000; ++i) ASSERT_EQ(zeros[i], 0) << i;
}

TEST_F(SpanCacheTest, ANeverTouchedPartOfAUsedSpanIsZeroToo) {
  grow(64);
  char* block = allocate(200'000);  // the heap thinks that its pages are untouched
  memset(block + 150'000, 'x', 50'000);
  heap_->free(block);
  char* again = allocate(200'000);
  EXPECT_EQ(again, block);
  heap_->free(again);
  auto* zeros = static_cast<char*>(heap_->zero_allocate(250'000));
  for (std::size_t i = 0; i < 250'000; ++i) ASSERT_EQ(zeros[i], 0) << i;
}

TEST_F(SpanCacheTest, WhatNobodyNeedsGoesBackWithinTwoTicks) {
  grow(64);
  free_all(allocate_many(3, 200'000));
  EXPECT_EQ(kept(), 12u);
  ASSERT_TRUE(FakeOs::run_thread());
  EXPECT_EQ(kept(), 0u);
  EXPECT_EQ(heap_->pool().totals().touched, 0u) << "and from the pool to the system";
}

TEST_F(SpanCacheTest, WhatIsNeededEveryTickStays) {
  grow(64);
  SpanCache<FakeOs> spans(heap_->map(), heap_->pool(), heap_->registry());
  free_all(allocate_many(2, 100'000));
  ASSERT_EQ(kept(), 4u);
  EXPECT_EQ(spans.release_idle(), 0u) << "both came since the last tick";
  for (int tick = 0; tick < 5; ++tick) {
    heap_->free(allocate(100'000));
    EXPECT_EQ(spans.release_idle(), tick == 0 ? 2u : 0u) << "one was not needed";
  }
  EXPECT_EQ(spans.granules(), 2u);
  EXPECT_EQ(spans.release_all(), 2u);
}

TEST_F(SpanCacheTest, PurgingOnDemandTakesEverything) {
  grow(64);
  free_all(allocate_many(3, 200'000));
  heap_->purge();
  EXPECT_EQ(kept(), 0u);
}

TEST_F(SpanCacheTest, AtTheLimitItMakesRoomForOtherLengths) {
  grow(64);
  heap_->purge();
  heap_->pool().set_limits(SIZE_MAX, 2 * kMiB);
  std::vector<char*> blocks;
  while (char* block = allocate(kGranuleBytes)) blocks.push_back(block);
  free_all(blocks);
  EXPECT_GT(kept(), 0u);
  EXPECT_NE(allocate(2 * kMiB), nullptr);
}

TEST_F(SpanCacheTest, WhileThreadsUseItOthersMayTakeFromIt) {
  grow(256);
  SpanCache<FakeOs> spans(heap_->map(), heap_->pool(), heap_->registry());
  std::atomic<int> running{4};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::vector<void*> blocks(16);
      for (std::size_t i = 0; i < 20'000; ++i) {
        void*& block = blocks[i * 7 % 16];
        if (block != nullptr) {
          ASSERT_EQ(*static_cast<std::size_t*>(block), t);
          heap_->free(block);
        }
        block = heap_malloc(40'000 + i * 977 % 400'000);
        ASSERT_NE(block, nullptr);
        *static_cast<std::size_t*>(block) = t;
      }
      for (void* block : blocks) heap_->free(block);
      heap_->detach_thread(FakeHeap::own_cache());
      --running;
    });
  }
  while (running != 0) spans.release_idle();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(heap_->large().count(), 0u);
  EXPECT_EQ(heap_->large().bytes(), 0u);
  heap_->purge();
  EXPECT_EQ(walk_pool(heap_->map(), heap_->pool()).in_use, 0u);
}

}  // namespace
}  // namespace carrel::core
