// profile/poisson.h: against the C library's functions, and as a distribution.
#include "profile/poisson.h"

#include <gtest/gtest.h>

#include <cmath>

namespace carrel::core {
namespace {

TEST(Poisson, LogarithmIsExact) {
  for (double x = 0x1p-53; x < 1e6; x *= 1.0137) {
    EXPECT_NEAR(natural_log(x), std::log(x), 1e-13 * (1 + std::fabs(std::log(x)))) << x;
  }
  EXPECT_EQ(natural_log(1), 0);
}

TEST(Poisson, ProbabilityIsExactForTinyAndLargeSizes) {
  for (double x = 1e-12; x < 100; x *= 1.21) {
    EXPECT_NEAR(one_minus_exp(x), -std::expm1(-x), 1e-12 * -std::expm1(-x)) << x;
  }
  EXPECT_EQ(one_minus_exp(1000), 1);
}

TEST(Poisson, WeightsOfRareSamplesAreLargeAndOfCertainOnesOne) {
  EXPECT_NEAR(sample_weight(16, 512 * 1024), 32768.5, 0.001);
  EXPECT_EQ(sample_weight(100 << 20, 512 * 1024), 1);
}

TEST(Poisson, DistancesHaveTheMeanAndTheSpreadOfTheirDistribution) {
  constexpr std::uint64_t kMean = 1000;
  constexpr int kCount = 1'000'000;
  std::uint64_t state = 42;
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const auto distance = static_cast<double>(next_distance(state, kMean));
    ASSERT_GE(distance, 0);
    sum += distance;
    squares += distance * distance;
  }
  const double mean = sum / kCount;
  // Rounded down: half a byte less than the mean. Five standard errors.
  EXPECT_NEAR(mean, kMean - 0.5, 5 * kMean / std::sqrt(kCount));
  EXPECT_NEAR(std::sqrt(squares / kCount - mean * mean), kMean, 10);
}

/// What a countdown samples, scaled, is what was allocated.
TEST(Poisson, ScaledSamplesAreUnbiased) {
  constexpr std::uint64_t kMean = 4096;
  std::uint64_t state = 7;
  for (const std::uint64_t size : {1u, 16u, 100u, 4096u, 20000u}) {
    constexpr int kCount = 2'000'000;
    std::int64_t left = next_distance(state, kMean);
    std::uint64_t samples = 0;
    for (int i = 0; i < kCount; ++i) {
      left -= static_cast<std::int64_t>(size);
      if (left >= 0) continue;
      ++samples;
      left = next_distance(state, kMean);
    }
    const double probability = one_minus_exp(static_cast<double>(size) / kMean);
    const double sigma = std::sqrt(kCount * (1 - probability) / probability);
    EXPECT_NEAR(static_cast<double>(samples) * sample_weight(size, kMean), kCount, 5 * sigma)
        << size;
  }
}

}  // namespace
}  // namespace carrel::core
