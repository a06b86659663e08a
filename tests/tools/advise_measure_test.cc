// The arithmetic behind measurements: intervals, and the gauge's latency classes.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <thread>
#include <vector>

#include "advise/measure.h"
#include "base/interrupt.h"
#include "compare/statistics.h"

namespace carrel::tools {
namespace {

TEST(Statistics, MedianOfOddAndEvenCounts) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(median({}), 0);
}

TEST(Statistics, AnIntervalHoldsItsMedianAndStaysWithinTheValues) {
  const std::vector<double> values = {10, 11, 12, 13, 100};
  const Interval interval = median_interval(values);
  EXPECT_EQ(interval.median, 12);
  EXPECT_GE(interval.low, 10);
  EXPECT_LE(interval.high, 100);
  EXPECT_LE(interval.low, interval.median);
  EXPECT_GE(interval.high, interval.median);
}

TEST(Statistics, PairedRatiosCancelWhatSlowedARound) {
  const std::vector<double> base = {1, 2, 10, 3, 5};
  std::vector<double> values;
  for (const double value : base) values.push_back(value * 0.8);
  const auto ratio = ratio_interval(values, base, /*paired=*/true);
  ASSERT_TRUE(ratio);
  EXPECT_NEAR(ratio->low, 0.8, 1e-9);
  EXPECT_NEAR(ratio->high, 0.8, 1e-9);
}

TEST(Statistics, NothingIsMeasuredAgainstZero) {
  for (const bool paired : {true, false}) {
    EXPECT_FALSE(ratio_interval({1, 2, 3}, {0, 0, 0}, paired));
    EXPECT_FALSE(ratio_interval({}, {}, paired));
    const auto ratio = ratio_interval({1, 2, 3}, {0, 2, 3}, paired);
    ASSERT_TRUE(ratio);
    EXPECT_GT(ratio->median, 0.5);
    EXPECT_LT(ratio->high, 2.1);
  }
  EXPECT_NEAR(ratio_interval({5, 2, 3}, {0, 2, 3}, true)->high, 1, 1e-9);
}

TEST(Interrupts, AStepCountsOnlyWhatComesAfterItsBeginning) {
  catch_interrupts();
  std::raise(SIGINT);
  EXPECT_TRUE(interrupted());
  const InterruptibleStep step;
  EXPECT_FALSE(step.interrupted());
  // The same wish may come twice at once; another is one that comes a second later.
  std::raise(SIGINT);
  EXPECT_FALSE(step.interrupted());
  std::this_thread::sleep_for(std::chrono::milliseconds(2100));
  std::raise(SIGINT);
  EXPECT_TRUE(step.interrupted());
}

TEST(Statistics, AShareOfNothingIsNotKnownExactly) {
  const Interval none = share_interval(0, 100);
  EXPECT_EQ(none.median, 0);
  EXPECT_GT(none.high, 0.01);
  EXPECT_LT(none.high, 0.05);
  const Interval half = share_interval(500, 1000);
  EXPECT_NEAR(half.low, 0.469, 0.002);
  EXPECT_NEAR(half.high, 0.531, 0.002);
}

TEST(Gauge, LatencyClassesAreContiguousAndOrdered) {
  std::size_t last = 0;
  for (std::uint64_t ns = 0; ns < 100'000; ++ns) {
    const std::size_t index = latency_class(ns);
    ASSERT_GE(index, last);
    ASSERT_LE(index, last + 1);
    ASSERT_LE(latency_floor(index), ns);
    ASSERT_GT(latency_floor(index + 1), ns);
    last = index;
  }
  EXPECT_EQ(latency_class(~std::uint64_t{0}), kLatencyClasses - 1);
}

TEST(Gauge, QuantilesComeFromTheClasses) {
  std::array<std::uint64_t, kLatencyClasses> classes{};
  EXPECT_EQ(latency_quantile(classes, 0.5), 0);
  classes[latency_class(20)] = 999;
  classes[latency_class(10'000)] = 1;
  EXPECT_NEAR(latency_quantile(classes, 0.5), 20, 3);
  EXPECT_NEAR(latency_quantile(classes, 0.9999), 10'000, 1'500);
}

}  // namespace
}  // namespace carrel::tools
