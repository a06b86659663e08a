// Sampling in the heap, on the simulated system: what is sampled, what it does to blocks, threads,
// fork and statistics, and that nothing of it stays.
#include "heap/profiler.h"

#include <algorithm>
#include <cmath>

#include "test_heap.h"

namespace carrel::core {
namespace {

class SampledHeapTest : public HeapFixture {
 protected:
  static inline Profiler<FakeOs>* profiler = nullptr;
  static inline const void* frame = nullptr;

  static constexpr ProfileHooks kHooks = {
      .prepare = [](ThreadCache& stand_in) { profiler->prepare(stand_in); },
      .sample = [](ThreadCache& stand_in,
                   std::size_t size) { return profiler->sample(stand_in, size); },
      .sample_large =
          [](ThreadCache& stand_in, void* block, std::size_t size) {
            return profiler->sample_large(stand_in, block, size);
          },
      .free = [](void* block) { profiler->free(block); },
      .forget_large = [](const void* block) { profiler->table().remove(block); },
      .release_empty = [] { profiler->release_empty(); },
      .before_fork = [] { profiler->before_fork(); },
      .after_fork = [](bool in_child) { profiler->after_fork(in_child); },
  };

  void SetUp() override {
    HeapFixture::SetUp();
    heap_->free(allocate(1));
    profiler_ = std::make_unique<Profiler<FakeOs>>(
        heap_->context(), [](const void** frames, std::size_t) -> std::size_t {
          frames[0] = frame;
          return 1;
        });
    profiler = profiler_.get();
    profiler->set_mean_bytes(1);  // all but everything
    heap_->set_profile_hooks(&kHooks);
  }

  bool is_sampled(const void* block) const {
    const std::uint8_t id = plain_class(heap_->map().class_of(block));
    return id == kSampledBlock || (id == kLargeBlock && heap_->map().span_of(block)->sampled);
  }
  SampleTotals totals() { return profiler->table().totals(); }

  void expect_nothing_left() {
    EXPECT_EQ(totals().samples, 0u);
    EXPECT_EQ(totals().live.bytes, 0u);
    heap_->set_profiling(false);
    heap_->purge();
    EXPECT_EQ(profiler->totals().live_blocks, 0u);
    EXPECT_EQ(profiler->totals().span_bytes, 0u);
    expect_clean();
  }

  std::unique_ptr<Profiler<FakeOs>> profiler_;
};

TEST_F(SampledHeapTest, NothingIsSampledUntilAsked) {
  free_all(allocate_many(1000, 100));
  heap_->free(allocate(1'000'000));
  EXPECT_EQ(totals().stacks, 0u);
  expect_nothing_left();
}

TEST_F(SampledHeapTest, BlocksOfAllSizesAreSampledAndUsable) {
  heap_->set_profiling(true);
  std::vector<char*> blocks;
  std::size_t bytes = 0;
  for (std::size_t size = 32; size < 3'000'000; size += size / 3) {
    char* block = allocate(size);
    ASSERT_TRUE(is_sampled(block)) << size;
    EXPECT_EQ(address_of(block) % kSlotAlignment, 0u);
    EXPECT_EQ(heap_->usable_size(block), heap_->good_size(size));
    memset(block, 0xAB, size);
    blocks.push_back(block);
    bytes += size;
  }
  EXPECT_EQ(totals().live.whole_bytes(), bytes);
  EXPECT_EQ(totals().samples, blocks.size());
  free_all(blocks);
  expect_nothing_left();
}

TEST_F(SampledHeapTest, RequestsOfNoBytesAreServed) {
  heap_->set_profiling(true);
  char* block = allocate(0);
  ASSERT_NE(block, nullptr);
  heap_->free(block);
  expect_nothing_left();
}

TEST_F(SampledHeapTest, ZeroedAndAlignedBlocksKeepTheirPromises) {
  heap_->set_profiling(true);
  for (int round = 0; round < 3; ++round) {
    auto* zeroed = static_cast<char*>(heap_->zero_allocate(3000));
    EXPECT_TRUE(is_sampled(zeroed));
    for (int i = 0; i < 3000; ++i) ASSERT_EQ(zeroed[i], 0);
    memset(zeroed, 1, 3000);
    heap_->free(zeroed);
    for (std::size_t alignment = 32; alignment <= 1'048'576; alignment *= 2) {
      void* block = heap_->aligned_allocate(alignment, 100);
      EXPECT_TRUE(is_sampled(block));
      EXPECT_EQ(address_of(block) % alignment, 0u) << alignment;
      heap_->free(block);
    }
  }
  expect_nothing_left();
}

TEST_F(SampledHeapTest, ResizedBlocksKeepTheirContentsAndAreCountedOnce) {
  heap_->set_profiling(true);
  auto* block = static_cast<char*>(heap_->reallocate(nullptr, 40, kSlotAlignment));
  memset(block, 7, 40);
  std::size_t kept = 40;
  for (const std::size_t size :
       {45u, 100u, 5000u, 40'000u, 90'000u, 2'000'000u, 60'000u, 3000u, 1500u, 33u}) {
    block = static_cast<char*>(heap_->reallocate(block, size, kSlotAlignment));
    ASSERT_NE(block, nullptr);
    ASSERT_TRUE(is_sampled(block)) << size;
    kept = std::min(kept, size);
    for (std::size_t i = 0; i < kept; ++i) ASSERT_EQ(block[i], 7) << size;
    ASSERT_EQ(totals().samples, 1u) << size;
  }
  heap_->free(block);
  expect_nothing_left();
}

TEST_F(SampledHeapTest, StoppingLeavesBlocksInTheProfileUntilTheyAreFreed) {
  heap_->set_profiling(true);
  const std::vector<char*> blocks = allocate_many(100, 50);
  char* large = allocate(100'000);
  heap_->set_profiling(false);
  EXPECT_EQ(TestTls::current, FakeHeap::own_cache());
  free_all(allocate_many(100, 50));
  EXPECT_EQ(totals().samples, 101u);
  free_all(blocks);
  heap_->free(large);
  expect_nothing_left();
}

TEST_F(SampledHeapTest, AChangedIntervalIsFollowedAndEachSampleWeighedByItsOwn) {
  profiler->set_mean_bytes(std::uint64_t{1} << 40);
  heap_->set_profiling(true);
  std::vector<char*> blocks = allocate_many(100, 100);
  EXPECT_EQ(totals().samples, 0u);
  profiler->set_mean_bytes(1);
  heap_->set_profiling(true);
  blocks.push_back(allocate(200));
  EXPECT_TRUE(is_sampled(blocks.back()));
  profiler->set_mean_bytes(std::uint64_t{1} << 40);
  blocks.push_back(allocate(300));  // counted by the mean that it was drawn with
  EXPECT_EQ(totals().live.whole_bytes(), 500u);
  profiler->set_mean_bytes(1);
  blocks.push_back(allocate(1'000'000));  // large blocks follow by themselves
  EXPECT_EQ(totals().live.whole_bytes(), 1'000'500u);
  free_all(blocks);
  expect_nothing_left();
}

TEST_F(SampledHeapTest, OtherThreadsFollowAtTheirNextSlowPath) {
  VirtualThread other;
  std::vector<char*> blocks;
  other.run([&] { blocks.push_back(allocate(64)); });
  heap_->set_profiling(true);
  other.run([&] {
    for (int i = 0; i < 2000; ++i) blocks.push_back(allocate(64));
    EXPECT_TRUE(is_sampled(blocks.back()));
    blocks.push_back(allocate(50'000));
    EXPECT_TRUE(is_sampled(blocks.back()));
  });
  free_all(blocks);  // by this thread
  other.exit(*heap_);
  expect_nothing_left();
}

TEST_F(SampledHeapTest, AThreadThatEndsLeavesNothing) {
  heap_->set_profiling(true);
  for (int i = 0; i < 100; ++i) {
    VirtualThread thread;
    thread.run([&] { free_all(allocate_many(20, 100)); });
    thread.exit(*heap_);
  }
  const std::size_t metadata = heap_->metadata().mapped_bytes();
  for (int i = 0; i < 100; ++i) {
    VirtualThread thread;
    thread.run([&] { free_all(allocate_many(20, 100)); });
    thread.exit(*heap_);
  }
  EXPECT_EQ(heap_->metadata().mapped_bytes(), metadata);
  expect_nothing_left();
}

TEST_F(SampledHeapTest, WhatReadingAStackAllocatesIsNotSampled) {
  static FakeHeap* heap = nullptr;
  heap = heap_.get();
  Profiler<FakeOs> nesting(heap_->context(), [](const void** frames, std::size_t) -> std::size_t {
    heap->free(heap_malloc(1000));
    heap->free(heap_malloc(100'000));
    frames[0] = nullptr;
    return 1;
  });
  nesting.set_mean_bytes(1);
  profiler = &nesting;
  heap_->set_profiling(true);
  const std::vector<char*> blocks = allocate_many(100, 500);
  EXPECT_EQ(totals().samples, 100u);
  free_all(blocks);
  expect_nothing_left();
}

TEST_F(SampledHeapTest, BothSidesOfAForkGoOn) {
  heap_->set_profiling(true);
  const std::vector<char*> blocks = allocate_many(10, 100);
  heap_->before_fork();
  heap_->after_fork_in_parent();
  free_all(allocate_many(10, 100));
  heap_->before_fork();
  heap_->after_fork_in_child();
  free_all(allocate_many(10, 100));
  free_all(blocks);
  expect_nothing_left();
}

TEST_F(SampledHeapTest, WithoutMemoryForSamplesBlocksAreServedAsUsual) {
  heap_->set_profiling(true);
  free_all(allocate_many(10, 100));
  std::vector<char*> blocks;
  FakeOs::fail_call(1, true);
  for (;;) {
    auto* block = allocate(48);
    if (block == nullptr) break;
    blocks.push_back(block);
  }
  FakeOs::fail_call(0);
  EXPECT_GT(blocks.size(), 10u);
  free_all(blocks);
  expect_nothing_left();
}

TEST_F(SampledHeapTest, ScaledSamplesAreUnbiased) {
  profiler->set_mean_bytes(4096);
  heap_->set_profiling(true);
  constexpr int kCount = 200'000;
  constexpr std::size_t kSize = 64;
  for (int i = 0; i < kCount; ++i) heap_->free(allocate(kSize));
  double estimate = 0;
  profiler->table().for_each_stack_locked([&](const SampledStack&, const StackSums& sums) {
    estimate += static_cast<double>(sums.allocated.whole_blocks());
  });
  const double probability = one_minus_exp(static_cast<double>(kSize) / 4096);
  EXPECT_NEAR(estimate, kCount, 5 * std::sqrt(kCount * (1 - probability) / probability));
  expect_nothing_left();
}

}  // namespace
}  // namespace carrel::core
