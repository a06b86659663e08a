// A comparison as a table for people. The same words for compare and advise.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace carrel::tools {

// "12.3 MiB", "1.24 s": by the unit that a metric's name ends in.
std::string metric_value(const std::string& metric, double value);
std::string metric_title(const std::string& metric);  // "CPU time"
std::string percent(double share, int digits = 1);    // "3.1%"

// Rows of cells as lines, each column as wide as its widest cell. Columns from `right` on, counted
// from 0, are flush right.
std::string aligned(const std::vector<std::vector<std::string>>& rows, std::size_t right = 1000);

// One row an allocator: medians, and ratios over the baseline with their intervals. `comparison` is
// the section of that name, or `replay`, of an analysis document.
std::string comparison_table(const nlohmann::ordered_json& comparison);

}  // namespace carrel::tools
