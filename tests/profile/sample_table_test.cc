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

  MetadataArena<FakeOs> metadata_;
  SampleTable<FakeOs> table_{metadata_};
};

TEST_F(SampleTableTest, WhatIsAddedAndRemovedLeavesNothing) {
  std::mt19937 random(1);
  for (std::size_t i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(table_.add(block(i), 1 + random() % 10'000, 1 + random() % 1000 / 7.0,
                           trace_of(random() % 300)));
  }
  EXPECT_EQ(table_.totals().samples, 20'000u);
  EXPECT_LE(table_.totals().stacks, 300u);
  for (std::size_t i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(table_.remove(block(i)));
    ASSERT_FALSE(table_.remove(block(i)));
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
  ASSERT_TRUE(table_.add(block(1), 100, 2, trace_of(3)));
  ASSERT_TRUE(table_.add(block(2), 50, 4, trace_of(3)));
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
  ASSERT_TRUE(table_.add(block(1), 10, 1, none));
  ASSERT_TRUE(table_.add(block(2), 10, 1, none));
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
      ASSERT_TRUE(table_.remove(block(number)));
      live_by_stack[found->second.first] -= found->second.second;
      live -= found->second.second;
      blocks.erase(found);
    } else {
      const std::size_t stack = random() % 10;
      const std::uint64_t bytes = 1 + random() % 1000;
      ASSERT_TRUE(table_.add(block(number), bytes, 1, trace_of(stack)));
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
  ASSERT_TRUE(table_.add(block(1), 100, 1, trace_of(1)));
  ASSERT_TRUE(table_.add(block(2), 200, 1, trace_of(2)));
  ASSERT_TRUE(table_.remove(block(2)));
  table_.reset();
  EXPECT_EQ(table_.totals().peak.whole_bytes(), 100u);
  int stacks = 0;
  table_.for_each_stack_locked([&](const SampledStack&, const StackSums& sums) {
    ++stacks;
    EXPECT_EQ(sums.allocated.bytes, 0u);
    EXPECT_EQ(sums.live.whole_bytes(), 100u);
  });
  EXPECT_EQ(stacks, 1);
  EXPECT_TRUE(table_.remove(block(1)));
}

}  // namespace
}  // namespace carrel::core
