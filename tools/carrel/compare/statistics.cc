// Statistics: see the header.
#include "compare/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>

namespace carrel::tools {

namespace {

constexpr int kResamples = 2000;
constexpr double kTail = 0.025;

Interval from_resamples(double middle, std::vector<double>& resamples) {
  std::sort(resamples.begin(), resamples.end());
  const auto at = [&](double share) {
    const double place = share * static_cast<double>(resamples.size() - 1);
    return resamples[static_cast<std::size_t>(std::lround(place))];
  };
  return {middle, std::min(middle, at(kTail)), std::max(middle, at(1 - kTail))};
}

template <typename Statistic>
Interval bootstrap(double middle, Statistic&& statistic) {
  std::mt19937_64 random(1);
  std::vector<double> resamples;
  resamples.reserve(kResamples);
  for (int i = 0; i < kResamples; ++i) resamples.push_back(statistic(random));
  return from_resamples(middle, resamples);
}

std::size_t draw(std::mt19937_64& random, std::size_t count) {
  return std::uniform_int_distribution<std::size_t>(0, count - 1)(random);
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const std::size_t middle = values.size() / 2;
  std::sort(values.begin(), values.end());
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

Interval median_interval(const std::vector<double>& values) {
  if (values.empty()) return {};
  std::vector<double> drawn(values.size());
  return bootstrap(median(values), [&](std::mt19937_64& random) {
    for (double& value : drawn) value = values[draw(random, values.size())];
    return median(drawn);
  });
}

std::optional<Interval> ratio_interval(const std::vector<double>& values,
                                       const std::vector<double>& base, bool paired) {
  if (paired && values.size() == base.size()) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (base[i] > 0) ratios.push_back(values[i] / base[i]);
    }
    if (ratios.empty()) return std::nullopt;
    return median_interval(ratios);
  }
  std::vector<double> positive = base;
  std::erase_if(positive, [](double value) { return value <= 0; });
  if (values.empty() || positive.empty()) return std::nullopt;
  std::vector<double> left(values.size());
  std::vector<double> right(positive.size());
  return bootstrap(median(values) / median(positive), [&](std::mt19937_64& random) {
    for (double& value : left) value = values[draw(random, values.size())];
    for (double& value : right) value = positive[draw(random, positive.size())];
    return median(left) / median(right);
  });
}

Interval share_interval(double hits, double trials) {
  if (trials <= 0) return {};
  constexpr double z = 1.96;
  const double share = hits / trials;
  const double scale = 1 + z * z / trials;
  const double middle = (share + z * z / (2 * trials)) / scale;
  const double half =
      z * std::sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale;
  return {share, std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

}  // namespace carrel::tools
