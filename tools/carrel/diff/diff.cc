// Comparing documents: see the header. Call sites are matched by the names of their functions, so
// that neither addresses nor line numbers need agree.
#include "diff/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "compare/table.h"
#include "export/export.h"
#include "export/measures.h"

namespace carrel::tools {

namespace {

constexpr std::size_t kFramesShown = 4;

struct Total {
  const char* key;
  const char* title;
  const char* unit;
};

constexpr Total kTotals[] = {{"allocations", "allocations", ""},
                             {"reallocations", "reallocations", ""},
                             {"allocated_bytes", "allocated in all", "_bytes"},
                             {"peak_live_bytes", "peak live", "_bytes"},
                             {"peak_live_blocks", "blocks at the peak", ""},
                             {"peak_rss_bytes", "peak RSS", "_bytes"},
                             {"leaked_bytes", "live at the end", "_bytes"},
                             {"leaked_blocks", "blocks at the end", ""},
                             {"temporary", "temporary", ""},
                             {"cross_thread_frees", "freed by other threads", ""}};

Json source(const Json& document) {
  Json out = {{"command", document.at("program").at("command")}};
  const Json& provenance = document.at("provenance");
  if (provenance.contains("allocator")) {
    out["allocator"] = provenance.at("allocator").value("name", "?");
  }
  out["recorded_at"] = provenance.value("recorded_at", "");
  return out;
}

// Bytes between sampled stacks of a thread, 0 when all were taken.
double interval_of(const Json& document) {
  const Json& provenance = document.at("provenance");
  return provenance.contains("trace") ? provenance.at("trace").value("stack_interval", 0.0) : 0;
}

using Sites = std::map<std::vector<std::string>, std::pair<double, double>>;

void add_sites(Sites& sites, const Json& document, const std::string& measure, bool after) {
  if (!document.contains("stacks")) return;
  const Json& section = document.at("stacks");
  for (const Json& stack : section.at("stacks")) {
    std::vector<std::string> names;
    for (auto frame = stack.at("frames").rbegin(); frame != stack.at("frames").rend(); ++frame) {
      names.push_back(section.at("frames").at(frame->get<std::size_t>()).value("function", "?"));
    }
    auto& both = sites[names];
    (after ? both.second : both.first) += stack.value(measure, 0.0);
  }
}

std::string amount(const std::string& unit, double value) {
  if (unit != "_bytes") return fmt::format("{:.0f}", value);
  if (value < 1024) return fmt::format("{:.0f} B", value);
  return value < 100 * 1024 ? fmt::format("{:.1f} KiB", value / 1024) : metric_value(unit, value);
}

std::string change(double before, double after) {
  if (before == after) return "same";
  if (before <= 0) return "new";
  if (after >= 10 * before) return fmt::format("x{:.3g}", after / before);
  return fmt::format("{:+.1f}%", (after / before - 1) * 100);
}

std::string signed_amount(const std::string& unit, double value) {
  return (value < 0 ? "-" : "+") + amount(unit, std::fabs(value));
}

std::string words(const Json& document) {
  std::string out;
  for (const Json& word : document.at("command")) {
    out += (out.empty() ? "" : " ") + word.get<std::string>();
  }
  return fmt::format("{} (on {}, {})", out, document.value("allocator", "?"),
                     document.value("recorded_at", ""));
}

}  // namespace

Json diff_documents(const Json& before, const Json& after, const std::string& measure) {
  check_measure(measure);
  Json out = {{"schema", "carrel-diff"},
              {"version", 1},
              {"before", source(before)},
              {"after", source(after)},
              {"measure", measure}};
  out["totals"] = Json::array();
  for (const Total& total : kTotals) {
    if (!before.at("totals").contains(total.key) || !after.at("totals").contains(total.key)) {
      continue;
    }
    out["totals"].push_back({{"what", total.key},
                             {"before", before.at("totals").at(total.key)},
                             {"after", after.at("totals").at(total.key)}});
  }
  out["sizes"] = Json::array();
  const Json& sizes = before.at("sizes");
  const Json& other_sizes = after.at("sizes");
  if (sizes.at("upper_bytes") == other_sizes.at("upper_bytes")) {
    for (std::size_t i = 0; i < sizes.at("bytes").size(); ++i) {
      out["sizes"].push_back({{"upper_bytes", sizes.at("upper_bytes").at(i)},
                              {"before", sizes.at("bytes").at(i)},
                              {"after", other_sizes.at("bytes").at(i)}});
    }
  }
  Sites sites;
  add_sites(sites, before, measure, false);
  add_sites(sites, after, measure, true);
  std::vector<const Sites::value_type*> order;
  for (const auto& site : sites) {
    if (site.second.first != site.second.second) order.push_back(&site);
  }
  const auto moved = [](const Sites::value_type* site) {
    return std::fabs(site->second.second - site->second.first);
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](const auto* a, const auto* b) { return moved(a) > moved(b); });
  // A sampled sum of x bytes is off by about sqrt(x * interval); twice that happens one time in 20.
  const double interval = std::max(interval_of(before), interval_of(after));
  const bool in_bytes = measure.ends_with("bytes");
  out["stacks"] = Json::array();
  for (const auto* site : order) {
    const auto& [was, is] = site->second;
    out["stacks"].push_back(
        {{"frames", site->first},
         {"before", was},
         {"after", is},
         {"chance", in_bytes && moved(site) < 2 * std::sqrt((was + is) * interval)}});
  }
  return out;
}

std::string diff_text(const Json& difference, std::size_t most) {
  const std::string measure = difference.value("measure", "");
  const std::string unit = measure.ends_with("bytes") ? "_bytes" : "";
  std::string out = fmt::format("before  {}\nafter   {}\n\n", words(difference.at("before")),
                                words(difference.at("after")));
  std::vector<std::vector<std::string>> rows = {{"", "before", "after", "change"}};
  for (const Json& entry : difference.at("totals")) {
    const auto* const total = std::find_if(
        std::begin(kTotals), std::end(kTotals),
        [&](const Total& one) { return one.key == std::string_view(entry.value("what", "")); });
    const double before = entry.value("before", 0.0);
    const double after = entry.value("after", 0.0);
    rows.push_back({total->title, amount(total->unit, before), amount(total->unit, after),
                    change(before, after)});
  }
  out += aligned(rows, 1);
  rows = {{"allocated in blocks", "before", "after", "change"}};
  for (const Json& entry : difference.at("sizes")) {
    const double before = entry.value("before", 0.0);
    const double after = entry.value("after", 0.0);
    if (before == after) continue;
    const Json& bound = entry.at("upper_bytes");
    rows.push_back(
        {bound.is_null() ? "larger" : fmt::format("to {} bytes", bound.get<std::uint64_t>()),
         amount("_bytes", before), amount("_bytes", after), change(before, after)});
  }
  if (rows.size() > 1) out += "\n" + aligned(rows, 1);
  const auto* const known = std::find_if(kMeasures.begin(), kMeasures.end(),
                                         [&](const Measure& one) { return one.key == measure; });
  const Json& stacks = difference.at("stacks");
  if (stacks.empty()) return out + "\nNo call site differs, or no call sites were recorded.\n";
  rows = {{"change", "before", "after", ""}};
  bool chance = false;
  for (std::size_t i = 0; i < std::min(most, stacks.size()); ++i) {
    const Json& stack = stacks.at(i);
    const double before = stack.value("before", 0.0);
    const double after = stack.value("after", 0.0);
    std::string names;
    const Json& frames = stack.at("frames");
    for (std::size_t f = 0; f < std::min(kFramesShown, frames.size()); ++f) {
      names += (f > 0 ? " < " : "") + frames.at(f).get<std::string>();
    }
    chance = chance || stack.value("chance", false);
    rows.push_back({signed_amount(unit, after - before), amount(unit, before), amount(unit, after),
                    (stack.value("chance", false) ? "~ " : "  ") + names});
  }
  out += fmt::format("\nCall sites by {}, the {} of {} that changed most, callee < caller:\n{}",
                     known->title, rows.size() - 1, stacks.size(), aligned(rows));
  if (chance) out += "~ may come from the sampling of call sites alone\n";
  return out;
}

}  // namespace carrel::tools
