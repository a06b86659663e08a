// The table of trials: see the header.
#include "compare/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace carrel::tools {

namespace {

std::string ratio_words(const nlohmann::ordered_json& ratio) {
  return fmt::format("{:.3f} ({:.3f}-{:.3f})", ratio.value("median", 0.0), ratio.value("low", 0.0),
                     ratio.value("high", 0.0));
}

}  // namespace

std::string aligned(const std::vector<std::vector<std::string>>& rows, std::size_t right) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    // What ends a row early, such as a failure in words, may run over the columns behind it.
    const bool early = !row.empty() && row.size() < rows.front().size();
    const std::size_t cells = row.size() - (early ? 1 : 0);
    for (std::size_t i = 0; i < cells; ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += "  ";
      const std::size_t pad = widths[i] - std::min(widths[i], row[i].size());
      if (i >= right) line += std::string(pad, ' ');
      line += row[i];
      if (i < right && i + 1 < row.size()) line += std::string(pad, ' ');
    }
    out += line + "\n";
  }
  return out;
}

std::string metric_value(const std::string& metric, double value) {
  if (metric.ends_with("_bytes")) return fmt::format("{:.1f} MiB", value / 1048576);
  if (metric.ends_with("_s")) {
    return value < 0.1 ? fmt::format("{:.1f} ms", value * 1e3) : fmt::format("{:.2f} s", value);
  }
  if (metric.ends_with("_ns")) return fmt::format("{:.0f} ns", value);
  return fmt::format("{:.4g}", value);
}

std::string metric_title(const std::string& metric) {
  if (metric == "cpu_s") return "CPU time";
  if (metric == "wall_s") return "wall time";
  if (metric == "peak_rss_bytes") return "peak RSS";
  if (metric == "end_rss_bytes") return "RSS at the end";
  if (metric == "tail_ns") return "p99.9 latency";
  return metric;
}

std::string percent(double share, int digits) {
  return fmt::format("{:.{}f}%", share * 100, digits);
}

std::string comparison_table(const nlohmann::ordered_json& comparison) {
  const std::string baseline = comparison.value("baseline", "");
  std::vector<std::string> metrics;
  const auto known = [&](const std::string& metric) {
    return std::find(metrics.begin(), metrics.end(), metric) != metrics.end();
  };
  for (const auto& entry : comparison.at("allocators")) {
    if (!entry.contains("ratios")) continue;
    for (const auto& [metric, value] : entry.at("ratios").items()) {
      if (!known(metric)) metrics.push_back(metric);
    }
  }
  const auto rank = [](const std::string& metric) {
    return metric == "cpu_s" ? 0 : metric == "wall_s" ? 1 : metric == "peak_rss_bytes" ? 2 : 3;
  };
  std::stable_sort(metrics.begin(), metrics.end(),
                   [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  std::vector<std::vector<std::string>> rows = {{"allocator"}};
  for (const std::string& metric : metrics) {
    rows[0].push_back(metric_title(metric));
    rows[0].push_back("over " + baseline);
  }
  for (const auto& entry : comparison.at("allocators")) {
    const std::string name = entry.value("name", "");
    std::vector<std::string> row = {name};
    if (entry.contains("failed")) row.push_back("failed: " + entry.value("failed", ""));
    for (const std::string& metric : metrics) {
      if (entry.contains("failed")) continue;
      const auto ratios = entry.value("ratios", nlohmann::ordered_json::object());
      if (!ratios.contains(metric)) {
        row.insert(row.end(), {"-", "-"});
        continue;
      }
      row.push_back(metric_value(metric, entry.at("metrics").at(metric).value("median", 0.0)));
      row.push_back(name == baseline ? "1" : ratio_words(ratios.at(metric)));
    }
    rows.push_back(std::move(row));
  }
  std::vector<std::string> noise = {"(A/A noise)"};
  for (const std::string& metric : metrics) {
    const auto& found = comparison.at("noise");
    noise.emplace_back();
    noise.push_back(found.contains(metric) ? "within " + percent(found.value(metric, 0.0)) : "");
  }
  rows.push_back(std::move(noise));
  return aligned(rows);
}

}  // namespace carrel::tools
