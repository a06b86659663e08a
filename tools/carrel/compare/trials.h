// Trials: runs of one program on several allocators, one after another in turning order, so that
// what changes on the machine meets all of them; what they came to, and how far the baseline is
// from itself (A/A). It recommends nothing.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "compare/program.h"
#include "compare/statistics.h"

namespace carrel::tools {

struct TrialOptions {
  RunOptions run;
  std::vector<Allocator> allocators;   // the first is the baseline
  int runs = 5;                        // of each
  std::string metric_name = "metric";  // of run.metric_command
  bool work_looked_at = false;         // what does the work is known to take what is preloaded
  // A further measurement: `prepare` before each run, `read` after it returns the metrics to add.
  std::function<void(RunOptions&)> prepare;
  std::function<std::map<std::string, double>()> read;
};

// One allocator's runs. `values`: metric (wall_s, cpu_s, peak_rss_bytes, ...) to one value a run.
struct Trial {
  Allocator allocator;
  LibraryInfo library;
  std::map<std::string, std::vector<double>> values;
  std::string failed;  // why it has too few runs; empty when it is well
};

struct TrialResults {
  std::vector<Trial> trials;            // the baseline first
  std::map<std::string, double> noise;  // metric to half width of the baseline's ratio to itself
  int runs = 0;                         // complete rounds
  bool stopped = false;                 // interrupted: fewer rounds than asked for
  int exit_status = 0;                  // of the program, the same in all runs that count

  const Trial* find(const std::string& name) const;
  Interval value(const Trial& trial, const std::string& metric) const;
  // Over the baseline; nothing when that has no value above zero.
  std::optional<Interval> ratio(const Trial& trial, const std::string& metric) const;
  nlohmann::ordered_json json() const;  // the section `comparison` of the analysis document
};

// Runs everything. A run that ends otherwise than the baseline's first one is a failure of its
// allocator; one that the program does not take, asked before the first run, gets none. The
// baseline runs twice a round, the second time for the noise. Shows progress. Throws UserError when
// the program cannot be started, fails on the baseline, or does not take it.
TrialResults run_trials(const TrialOptions& options);

}  // namespace carrel::tools
