// A comparison as a table for people. The same words for compare and advise.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace carrel::tools {

// "12.3 MiB", "1.24 s": by the unit that a metric's name ends in.
std::string metric_value(const std::string& metric, double value);
std::string metric_title(const std::string& metric);  // "CPU time"
std::string percent(double share, int digits = 1);    // "3.1%"

// One row an allocator: medians, and ratios over the baseline with their intervals. `comparison` is
// the section of that name, or `replay`, of an analysis document.
std::string comparison_table(const nlohmann::ordered_json& comparison);

}  // namespace carrel::tools
