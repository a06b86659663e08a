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
  std::vector<char*> blocks = allocate_many(20, 100'000);
  free_all(blocks);
  EXPECT_LE(kept() * 16, heap_->pool().added_granules());
}

TEST_F(SpanCacheTest, ALargeHeapKeepsAtMostTwoMebibytesADrawer) {
  grow(512);
  free_all(allocate_many(100, 500'000));
  EXPECT_LE(kept() << kGranuleShift, 2 * kMiB);
  EXPECT_GE(kept() << kGranuleShift, 1 * kMiB);
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
  SpanCache<FakeOs> spans(heap_->pool());
  grow(64);
  for (int i = 0; i < 2; ++i) {
    Span* span = heap_->pool().allocate(2, 1, SpanState::kLarge);
    EXPECT_TRUE(spans.keep(0, span));
  }
  EXPECT_EQ(spans.release_idle(), 0u) << "both came since the last tick";
  for (int tick = 0; tick < 5; ++tick) {
    Span* span = spans.take(0, 2, 100'000);
    ASSERT_NE(span, nullptr);
    EXPECT_TRUE(spans.keep(0, span));
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

TEST_F(SpanCacheTest, ThreadsMayUseItTogether) {
  grow(256);
  std::vector<std::thread> threads;
  for (std::uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      std::vector<void*> blocks(16);
      for (std::size_t i = 0; i < 20'000; ++i) {
        void*& block = blocks[i * 7 % 16];
        if (block != nullptr) heap_->large().free(block, t % 3);
        block = heap_->large().allocate(40'000 + i * 977 % 400'000, 16, false, t % 2);
        ASSERT_NE(block, nullptr);
        *static_cast<std::size_t*>(block) = i;
      }
      for (void* block : blocks) heap_->large().free(block, t);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(heap_->large().count(), 0u);
  EXPECT_EQ(heap_->large().bytes(), 0u);
  heap_->purge();
  EXPECT_EQ(walk_pool(heap_->map(), heap_->pool()).in_use, 0u);
}

}  // namespace
}  // namespace carrel::core
