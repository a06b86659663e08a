// profile/sample_table.h: what is added and removed is accounted for exactly, also at the peak,
// also when memory is short.
#include "profile/sample_table.h"

#include <map>
#include <random>
#include <vector>

#include "fake_os_test.h"

namespace carrel::core {
namespace {

class SampleTableTest : public FakeOsTest {
 protected:
  static StackTrace trace_of(std::size_t number) {
    StackTrace trace;
    trace.depth = static_cast<std::uint32_t>(number % 7 + 1);
    for (std::uint32_t i = 0; i < trace.depth; ++i) {
      trace.frames[i] = at_address<const void>(0x1000 * (number + 1) + i);
    }
    return trace;
  }
  static const void* block(std::size_t number) { return at_address<const void>(16 * (number + 1)); }

  bool add(std::size_t number, std::uint64_t size, double weight, const StackTrace& trace,
           std::uint64_t time_ns = 0) {
    const SampledBlock sampled = {
        .block = block(number), .size = size, .mean_bytes = 1, .time_ns = time_ns};
    return table_.add(sampled, weight, &trace);
  }

  MetadataArena<FakeOs> metadata_;
  SampleTable<FakeOs> table_{metadata_};
};

TEST_F(SampleTableTest, WhatIsAddedAndRemovedLeavesNothing) {
  std::mt19937 random(1);
  for (std::size_t i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(add(i, 1 + random() % 10'000, 1 + random() % 1000 / 7.0, trace_of(random() % 300)));
  }
  EXPECT_EQ(table_.totals().samples, 20'000u);
  EXPECT_LE(table_.totals().stacks, 300u);
  for (std::size_t i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(table_.remove(block(i), 0));
    ASSERT_FALSE(table_.remove(block(i), 0));
  }
  const SampleTotals totals = table_.totals();
  EXPECT_EQ(totals.samples, 0u);
  EXPECT_EQ(totals.live.blocks, 0u);
  EXPECT_EQ(totals.live.bytes, 0u);
  table_.for_each_stack_locked([](const SampledStack&, const StackSums& sums) {
    EXPECT_EQ(sums.live.blocks, 0u);
    EXPECT_EQ(sums.live.bytes, 0u);
    EXPECT_NE(sums.allocated.bytes, 0u);
  });
}

TEST_F(SampleTableTest, EqualStacksAreOne) {
  ASSERT_TRUE(add(1, 100, 2, trace_of(3)));
  ASSERT_TRUE(add(2, 50, 4, trace_of(3)));
  int stacks = 0;
  table_.for_each_stack_locked([&](const SampledStack& stack, const StackSums& sums) {
    ++stacks;
    EXPECT_EQ(stack.depth, trace_of(3).depth);
    EXPECT_EQ(stack.frames()[0], trace_of(3).frames[0]);
    EXPECT_EQ(sums.live.whole_blocks(), 6u);
    EXPECT_EQ(sums.live.whole_bytes(), 400u);
  });
  EXPECT_EQ(stacks, 1);
}

TEST_F(SampleTableTest, AnEmptyStackIsOneToo) {
  StackTrace none;
  ASSERT_TRUE(add(1, 10, 1, none));
  ASSERT_TRUE(add(2, 10, 1, none));
  EXPECT_EQ(table_.totals().stacks, 1u);
}

/// Against a model that remembers each stack's sum whenever the total is at a new height.
TEST_F(SampleTableTest, ThePeakIsThatOfTheMoment) {
  std::mt19937 random(5);
  std::map<std::size_t, std::uint64_t> live_by_stack;
  std::map<std::size_t, std::uint64_t> at_peak;
  std::map<std::size_t, std::pair<std::size_t, std::uint64_t>> blocks;  // to stack and bytes
  std::uint64_t live = 0;
  std::uint64_t peak = 0;
  for (int step = 0; step < 5000; ++step) {
    const std::size_t number = random() % 200;
    if (const auto found = blocks.find(number); found != blocks.end()) {
      ASSERT_TRUE(table_.remove(block(number), 0));
      live_by_stack[found->second.first] -= found->second.second;
      live -= found->second.second;
      blocks.erase(found);
    } else {
      const std::size_t stack = random() % 10;
      const std::uint64_t bytes = 1 + random() % 1000;
      ASSERT_TRUE(add(number, bytes, 1, trace_of(stack)));
      blocks[number] = {stack, bytes};
      live_by_stack[stack] += bytes;
      live += bytes;
      if (live > peak) {
        peak = live;
        at_peak = live_by_stack;
      }
    }
  }
  EXPECT_EQ(table_.totals().peak.whole_bytes(), peak);
  table_.for_each_stack_locked([&](const SampledStack& stack, const StackSums& sums) {
    const std::size_t number = address_of(stack.frames()[0]) / 0x1000 - 1;
    EXPECT_EQ(sums.at_peak.whole_bytes(), at_peak[number]) << number;
    EXPECT_EQ(sums.live.whole_bytes(), live_by_stack[number]) << number;
  });
}

TEST_F(SampleTableTest, ResetKeepsWhatIsLive) {
  ASSERT_TRUE(add(1, 100, 1, trace_of(1)));
  ASSERT_TRUE(add(2, 200, 1, trace_of(2)));
  ASSERT_TRUE(table_.remove(block(2), 0));
  table_.reset();
  EXPECT_EQ(table_.totals().peak.whole_bytes(), 100u);
  int stacks = 0;
  table_.for_each_stack_locked([&](const SampledStack&, const StackSums& sums) {
    ++stacks;
    EXPECT_EQ(sums.allocated.bytes, 0u);
    EXPECT_EQ(sums.live.whole_bytes(), 100u);
  });
  EXPECT_EQ(stacks, 1);
  EXPECT_TRUE(table_.remove(block(1), 0));
}

TEST_F(SampleTableTest, WhatWasFreedIsSummedUpByItsLifetime) {
  ASSERT_TRUE(add(1, 100, 2, trace_of(1), 1'000'000));
  ASSERT_TRUE(add(2, 50, 4, trace_of(1), 1'000'000));
  ASSERT_TRUE(add(3, 10, 1, trace_of(1), 5'000'000));
  EXPECT_TRUE(table_.remove(block(1), 1'009'000));      // 9 us
  EXPECT_TRUE(table_.remove(block(2), 3'000'000'000));  // some 3 s
  EXPECT_TRUE(table_.remove(block(3), 4'000'000));      // a clock that went back
  table_.for_each_stack_locked([&](const SampledStack& stack, const StackSums&) {
    ASSERT_NE(stack.lifetimes, nullptr);
    std::uint64_t blocks = 0;
    for (const auto& bucket : stack.lifetimes->buckets) blocks += bucket.freed.whole_blocks();
    EXPECT_EQ(blocks, 7u);
    EXPECT_EQ(stack.lifetimes->buckets[0].freed.whole_bytes(), 10u);
    EXPECT_EQ(stack.lifetimes->buckets[1].freed.whole_bytes(), 200u);
    EXPECT_DOUBLE_EQ(stack.lifetimes->buckets[1].total_us, 18);
    EXPECT_EQ(stack.lifetimes->buckets[7].freed.whole_blocks(), 4u);
    EXPECT_DOUBLE_EQ(stack.lifetimes->buckets[7].total_us, 4 * 2'999'000);
  });
  table_.reset();
  table_.for_each_stack_locked([&](const SampledStack& stack, const StackSums&) {
    for (const auto& bucket : stack.lifetimes->buckets) EXPECT_EQ(bucket.freed.blocks, 0u);
  });
}

TEST_F(SampleTableTest, LifetimesFallIntoDecades) {
  EXPECT_EQ(Lifetimes::bucket_of(0), 0u);
  EXPECT_EQ(Lifetimes::bucket_of(1000), 0u);
  EXPECT_EQ(Lifetimes::bucket_of(1001), 1u);
  EXPECT_EQ(Lifetimes::bucket_of(1'000'000'000), 6u);
  EXPECT_EQ(Lifetimes::bucket_of(1'000'000'000'001), 10u);
  EXPECT_EQ(Lifetimes::bucket_of(UINT64_MAX), 10u);
  EXPECT_EQ(Lifetimes::bound_ns(9), 1'000'000'000'000u);
}

TEST_F(SampleTableTest, WithoutAStackASampleIsNotInTheProfile) {
  const SampledBlock sampled = {
      .block = block(1), .size = 77, .mean_bytes = 5, .time_ns = 3, .hooks = 0x81};
  ASSERT_TRUE(table_.add(sampled, 1, nullptr));
  EXPECT_EQ(table_.totals().samples, 0u);
  EXPECT_EQ(table_.totals().stacks, 0u);
  EXPECT_EQ(table_.totals().live.bytes, 0u);
  table_.clear_hook_locked(0x80);
  SampledBlock found;
  ASSERT_TRUE(table_.remove_locked(block(1), 10, found));
  EXPECT_EQ(found.size, 77u);
  EXPECT_EQ(found.mean_bytes, 5u);
  EXPECT_EQ(found.time_ns, 3u);
  EXPECT_EQ(found.hooks, 0x01);
  EXPECT_FALSE(table_.remove(block(1), 10));
}

}  // namespace
}  // namespace carrel::core
