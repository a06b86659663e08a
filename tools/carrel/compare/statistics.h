// Medians, and 95% bootstrap intervals of medians and of ratios of medians. The resampling uses a
// fixed seed: the same numbers give the same interval.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

namespace carrel::tools {

struct Interval {
  double median = 0;
  double low = 0;
  double high = 0;

  nlohmann::ordered_json json() const { return {{"median", median}, {"low", low}, {"high", high}}; }
};

// 0 for no values.
double median(std::vector<double> values);

Interval median_interval(const std::vector<double>& values);

// The median of `values` over that of `base`. When both have the same length and `paired`, value i
// and base i were measured in the same round and are resampled together, so that what slowed down a
// round cancels. Bases that are not above zero have no ratio and are left out; nothing when none is
// left.
std::optional<Interval> ratio_interval(const std::vector<double>& values,
                                       const std::vector<double>& base, bool paired);

// An interval for a share of `hits` among `trials` (Wilson).
Interval share_interval(double hits, double trials);

}  // namespace carrel::tools
