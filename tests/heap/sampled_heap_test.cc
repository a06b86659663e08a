// Sampling in the heap, on the simulated system: what is sampled, what it does to blocks, threads,
// fork and statistics, and that nothing of it stays.
#include "heap/profiler.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "test_heap.h"

namespace carrel::core {
namespace {

class SampledHeapTest : public HeapFixture {
 protected:
  static inline Profiler<FakeOs>* profiler = nullptr;
  static inline const void* frame = nullptr;
  static inline bool in_hook = false;

  static constexpr ProfileHooks kHooks = {
      .prepare = [](SampleCounter& counter) { return profiler->prepare(counter); },
      .sample = [](SampleCounter& counter,
                   std::size_t size) { return profiler->sample(counter, size); },
      .sample_large = [](SampleCounter& counter, void* block,
                         std::size_t size) { return profiler->sample_large(counter, block, size); },
      .free = [](void* block) { profiler->free(block); },
      .forget_large = [](const void* block) { profiler->forget(block); },
      .release_empty = [] { profiler->release_empty(); },
      .before_fork = [] { profiler->before_fork(); },
      .after_fork = [](bool in_child) { profiler->after_fork(in_child); },
  };

  void SetUp() override {
    HeapFixture::SetUp();
    heap_->free(allocate(1));
    profiler_ = std::make_unique<Profiler<FakeOs>>(
        heap_->context(), ties([](const void** frames, std::size_t) -> std::size_t {
          frames[0] = frame;
          return 1;
        }));
    in_hook = false;
    start(*profiler_, 1);  // all but everything
    heap_->set_profile_hooks(&kHooks);
  }

  static ProfilerTies ties(std::size_t (*read_stack)(const void**, std::size_t)) {
    return {.read_stack = read_stack,
            .now_ns = [] { return FakeOs::now_ms() * 1'000'000; },
            .in_hook = []() -> bool& { return in_hook; },
            .tell =
                [](SampleHooks::Function function, void* context, const SampleEvent& event) {
                  reinterpret_cast<void (*)(void*, const SampleEvent&)>(function)(context, event);
                }};
  }
  static void start(Profiler<FakeOs>& with, std::uint64_t mean_bytes) {
    profiler = &with;
    with.set_mean_bytes(mean_bytes);
    LockGuard guard(with.table());
    with.set_profiled_locked(true);
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
  blocks.push_back(allocate(300));  // hit by the shorter distance, but no longer wanted so often
  EXPECT_EQ(totals().live.whole_bytes(), 200u);
  profiler->set_mean_bytes(1);
  blocks.push_back(allocate(1'000'000));  // large blocks follow by themselves
  EXPECT_EQ(totals().live.whole_bytes(), 1'000'200u);
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
  Profiler<FakeOs> nesting(heap_->context(), ties([](const void** frames, std::size_t) {
                             heap->free(heap_malloc(1000));
                             heap->free(heap_malloc(100'000));
                             frames[0] = nullptr;
                             return std::size_t{1};
                           }));
  start(nesting, 1);
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

TEST_F(SampledHeapTest, EachSizeIsSampledAsOftenAsItsBytesSay) {
  constexpr std::size_t kSizes[] = {16, 40, 64, 200, 1000, 3000, 20'000, 50'000};
  constexpr double kMean = 16'384;
  profiler->set_mean_bytes(static_cast<std::uint64_t>(kMean));
  heap_->set_profiling(true);
  std::map<std::size_t, std::size_t> asked;
  std::map<std::size_t, double> sampled;
  // Frees come late and out of order, often by way of the shards; the cache is given back at times.
  std::vector<std::pair<char*, std::size_t>> live(300);
  std::mt19937 random(7);
  for (int i = 0; i < 400'000; ++i) {
    const std::size_t size = kSizes[random() % std::size(kSizes)];
    auto& place = live[random() % live.size()];
    heap_->free(place.first);
    place = {allocate(size), size};
    asked[size] += 1;
    if (is_sampled(place.first)) sampled[size] += 1;
    if (i % 10'000 == 0) heap_->flush_thread();
    if (i % 50'000 == 0) heap_->set_profiling(i % 100'000 == 0);
    if (i % 50'000 == 1) heap_->set_profiling(true);
  }
  for (const std::size_t size : kSizes) {
    const double chance = one_minus_exp(static_cast<double>(counted_for_sampling(size)) / kMean);
    const double expected = chance * static_cast<double>(asked[size]);
    EXPECT_NEAR(sampled[size], expected, 5 * std::sqrt(expected * (1 - chance)) + 1) << size;
  }
  for (const auto& [block, size] : live) heap_->free(block);
  expect_nothing_left();
}

TEST_F(SampledHeapTest, FastPathsServeWhatIsNotSampled) {
  profiler->set_mean_bytes(std::uint64_t{1} << 40);
  heap_->set_profiling(true);
  free_all(allocate_many(64, 100));
  ThreadCache& cache = *FakeHeap::own_cache();
  const std::uint8_t id = size_class_for(64);
  std::size_t refilled = 0;
  for (int i = 0; i < 6400; ++i) {
    refilled += cache.bins[kReadyBins + id].size() == 0 ? 1 : 0;
    heap_->free(allocate(64));
  }
  EXPECT_LE(refilled, 6400u / 128 + 2);
  heap_->set_profiling(false);
  EXPECT_EQ(cache.bins[kReadyBins + id].capacity(), 0u);
  EXPECT_EQ(cache.counter, nullptr);
  char* block = allocate(64);
  const std::uint32_t left = cache.bins[id].size();
  heap_->free(block);
  EXPECT_EQ(cache.bins[id].size(), left + 1);
  EXPECT_EQ(allocate(64), block);
  heap_->free(block);
  expect_nothing_left();
}

/// Of the program: remembers what it was told.
struct Heard {
  std::vector<SampleEvent> events;
  FakeHeap* heap = nullptr;  // not null: it allocates, and frees, by itself
  char* to_free = nullptr;
  double estimate = 0;
};
void hear(void* context, const SampleEvent& event) {
  auto& heard = *static_cast<Heard*>(context);
  heard.events.push_back(event);
  if (!event.freed) heard.estimate += static_cast<double>(event.weight_bytes);
  if (heard.heap == nullptr) return;
  heard.heap->free(heap_malloc(500));
  heard.heap->free(heap_malloc(500'000));
  heard.heap->free(std::exchange(heard.to_free, nullptr));
}

TEST_F(SampledHeapTest, HooksHearOfBlocksAndOfTheirFrees) {
  Heard both;
  Heard allocations_only;
  const auto function = reinterpret_cast<SampleHooks::Function>(hear);
  {
    LockGuard guard(profiler->table());
    profiler->set_profiled_locked(false);
    EXPECT_TRUE(profiler->hooks_locked().add(function, &both, 1, true));
    EXPECT_TRUE(profiler->hooks_locked().add(function, &allocations_only, 1, false));
    profiler->update_rate_locked();
  }
  heap_->set_profiling(true);
  char* small = allocate(100);
  char* large = allocate(100'000);
  ASSERT_EQ(both.events.size(), 2u);
  EXPECT_EQ(both.events[0].block, small);
  EXPECT_EQ(both.events[0].size, 100u);
  EXPECT_EQ(both.events[0].weight_bytes, 100u);
  EXPECT_FALSE(both.events[0].freed);
  EXPECT_EQ(both.events[1].block, large);
  EXPECT_EQ(totals().stacks, 0u);  // nothing for the profile
  FakeOs::advance_ms(5);
  large = static_cast<char*>(heap_->reallocate(large, 300'000, kSlotAlignment));
  ASSERT_EQ(both.events.size(), 4u);
  EXPECT_TRUE(both.events[2].freed);
  EXPECT_EQ(both.events[2].size, 100'000u);
  EXPECT_EQ(both.events[2].lifetime_ns, 5'000'000u);
  EXPECT_EQ(both.events[3].block, large);
  heap_->free(small);
  heap_->free(large);
  ASSERT_EQ(both.events.size(), 6u);
  EXPECT_EQ(both.events[4].block, small);
  EXPECT_TRUE(both.events[4].freed);
  EXPECT_EQ(allocations_only.events.size(), 3u);
  // Who left hears nothing of what it was told of before.
  char* last = allocate(100);
  {
    LockGuard guard(profiler->table());
    profiler->remove_hook_locked(profiler->hooks_locked().find(function, &both));
    EXPECT_TRUE(profiler->wanted_locked());
    profiler->remove_hook_locked(profiler->hooks_locked().find(function, &allocations_only));
    EXPECT_FALSE(profiler->wanted_locked());
  }
  heap_->free(last);
  EXPECT_EQ(both.events.size(), 7u);
  expect_nothing_left();
}

TEST_F(SampledHeapTest, AHookIsNotCalledWithinOne) {
  Heard heard;
  heard.heap = heap_.get();
  {
    LockGuard guard(profiler->table());
    EXPECT_TRUE(profiler->hooks_locked().add(reinterpret_cast<SampleHooks::Function>(hear), &heard,
                                             1, true));
    profiler->update_rate_locked();
  }
  heap_->set_profiling(true);
  char* other = allocate(64);
  heard.to_free = other;
  char* block = allocate(64);
  EXPECT_EQ(heard.to_free, nullptr);
  heap_->free(block);
  ASSERT_EQ(heard.events.size(), 3u);
  EXPECT_TRUE(heard.events[2].freed);
  EXPECT_FALSE(in_hook);
  expect_nothing_left();
}

/// The profile and two hooks, all at different rates, over one stream of allocations.
TEST_F(SampledHeapTest, EachHookSeesAnUnbiasedChoiceAtItsOwnRate) {
  Heard often;
  Heard seldom;
  const auto function = reinterpret_cast<SampleHooks::Function>(hear);
  start(*profiler, 8192);
  {
    LockGuard guard(profiler->table());
    EXPECT_TRUE(profiler->hooks_locked().add(function, &often, 2048, true));
    EXPECT_TRUE(profiler->hooks_locked().add(function, &seldom, 32'768, false));
    profiler->update_rate_locked();
  }
  heap_->set_profiling(true);
  constexpr int kCount = 300'000;
  constexpr std::size_t kSize = 200;
  for (int i = 0; i < kCount; ++i) heap_->free(allocate(kSize));
  double profiled = 0;
  profiler->table().for_each_stack_locked([&](const SampledStack&, const StackSums& sums) {
    profiled += static_cast<double>(sums.allocated.whole_bytes());
  });
  const auto expect_near = [](double found, double mean) {
    const double chance = one_minus_exp(kSize / mean);
    const double error = kSize * std::sqrt(kCount * (1 - chance) / chance);
    EXPECT_NEAR(found, kCount * static_cast<double>(kSize), 5 * error) << mean;
  };
  expect_near(often.estimate, 2048);
  expect_near(profiled, 8192);
  expect_near(seldom.estimate, 32'768);
  EXPECT_GT(often.events.size(), 20 * seldom.events.size());
  expect_nothing_left();
}

TEST_F(SampledHeapTest, AForkInAHookLeavesTheChildNobodyInside) {
  static FakeHeap* heap = nullptr;
  heap = heap_.get();
  const auto fork_now = [](void*, const SampleEvent&) {
    heap->before_fork();
    heap->after_fork_in_child();
  };
  void (*const forking)(void*, const SampleEvent&) = fork_now;
  const auto function = reinterpret_cast<SampleHooks::Function>(forking);
  {
    LockGuard guard(profiler->table());
    EXPECT_TRUE(profiler->hooks_locked().add(function, nullptr, 1, false));
    profiler->update_rate_locked();
  }
  heap_->set_profiling(true);
  free_all(allocate_many(3, 100));
  EXPECT_EQ(profiler->hooks_locked().running(0).load(), 0u);
  profiler->wait_for_hook(0);
  expect_nothing_left();
}

}  // namespace
}  // namespace carrel::core
