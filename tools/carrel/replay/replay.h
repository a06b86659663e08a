// Replaying a trace on several allocators: each run a fresh process, runs of all allocators in
// turn, the cost of the replay itself taken off, and the replay held against the recording before
// anything is said about allocators.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "compare/statistics.h"
#include "launch/allocators.h"
#include "replay/plan.h"

namespace carrel::tools {

struct ReplayOptions {
  std::filesystem::path trace;
  std::vector<Allocator> allocators;  // the first is the baseline
  int runs = 5;                       // of each
  PlanOptions plan;
};

struct ReplayedAllocator {
  Allocator allocator;
  LibraryInfo library;
  // Metric to one value a run: wall_s; cpu_s, without the replay's own; peak_rss_bytes and
  // end_rss_bytes, above those before the first op; faults; stall_s.
  std::map<std::string, std::vector<double>> values;
  // Nanoseconds at ReplayResults::quantiles, over all runs; empty when too few calls were timed.
  std::vector<double> malloc_ns;
  std::vector<double> free_ns;
  std::uint64_t refused = 0;  // allocations that gave null
  double peak_live_bytes = 0;
  std::string failed;  // why it could not be measured; empty when it is well
};

// A quantity of the recording beside the same of the replay on the recorded allocator.
struct FidelityCheck {
  std::string what;
  std::string unit;
  double recorded = 0;
  double replayed = 0;
  double tolerance = 0;  // absolute
  bool ok = false;
};

// More than this times as long, or as short, and a replay's calls are not like the program's.
inline constexpr double kCallsTolerance = 2.5;

struct ReplayResults {
  std::vector<ReplayedAllocator> allocators;
  std::vector<double> quantiles = {0.5, 0.9, 0.99, 0.999, 0.9999};
  std::map<std::string, double> noise;  // metric to half width of the baseline's ratio to itself
  double harness_cpu_s = 0;             // of a replay on the allocator that does nothing
  std::vector<FidelityCheck> fidelity;
  bool faithful = false;
  bool faithful_memory = false;  // nor does the program hold much beside the allocator's
  std::string unfaithful_why;    // why there is no verdict, or what to keep in mind
  PlanFacts facts;
  double recorded_calls_s = 0;  // in calls of the allocator, replayed on the recorded one; 0: not
  int runs = 0;                 // complete rounds
  bool stopped = false;         // interrupted

  Interval value(const ReplayedAllocator& one, const std::string& metric) const;
  // Over the baseline; nothing where either took too little to be told from the replay's own cost.
  std::optional<Interval> ratio(const ReplayedAllocator& one, const std::string& metric) const;
  // One more check of fidelity: the time in calls of the allocator, as the program itself showed it
  // in calls that were timed, beside that of the replay. Without a replay on the recorded allocator
  // it checks nothing.
  void check_calls(double program_s);
  // Whether the difference from the baseline is more than noise.
  bool differs(const ReplayedAllocator& one, const std::string& metric) const;
  // The sections `replay`, `fidelity` and `latency` of the analysis document, and `plan`.
  nlohmann::ordered_json json() const;
};

// Throws UserError when the trace cannot be read or nothing can be replayed.
ReplayResults replay(const ReplayOptions& options);

}  // namespace carrel::tools
