// Trials: see the header.
#include "compare/trials.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "launch/proof.h"
#include "launch/witness.h"

namespace carrel::tools {

namespace {

void note(std::map<std::string, std::vector<double>>& values, const RunResult& run,
          const TrialOptions& options) {
  values["cpu_s"].push_back(run.cpu_s);
  values["wall_s"].push_back(run.wall_s);
  values["peak_rss_bytes"].push_back(static_cast<double>(run.peak_rss_bytes));
  if (!options.run.metric_command.empty()) values[options.metric_name].push_back(run.metric);
  if (options.read) {
    for (const auto& [metric, value] : options.read()) values[metric].push_back(value);
  }
}

// A library that is preloaded and does not serve would be measured under its name and be what the
// program has already. Empty when it serves, or when the program cannot be asked.
std::string why_not_taken(const std::vector<std::string>& command, const Allocator& allocator) {
  if (allocator.is_system()) return {};
  try {
    const std::string file = ask_program(command, allocator).malloc();
    if (file.empty() || is_of(allocator, file)) return {};
    return "it did not take: malloc comes from " + file;
  } catch (const UserError&) {
    return {};  // the first run tells whether the program starts
  }
}

// The same for what the program becomes: a wrapper that takes the allocator may start one that does
// not. What does the work takes all that are preloaded, or none of them.
void check_at_work(const std::vector<std::string>& command, std::vector<Trial>& trials) {
  const auto preloaded = [](const Trial& trial) {
    return !trial.allocator.is_system() && trial.failed.empty();
  };
  const auto first = std::find_if(trials.begin(), trials.end(), preloaded);
  if (first == trials.end()) return;
  Progress progress("looking which process does the work");
  progress.at(0);
  const std::string why = why_not_at_work(command, first->allocator);
  if (why.empty()) return;
  for (Trial& trial : trials) {
    if (preloaded(trial)) trial.failed = "it did not take: " + why;
  }
}

}  // namespace

const Trial* TrialResults::find(const std::string& name) const {
  for (const Trial& trial : trials) {
    if (trial.allocator.name == name) return &trial;
  }
  return nullptr;
}

Interval TrialResults::value(const Trial& trial, const std::string& metric) const {
  const auto values = trial.values.find(metric);
  return values == trial.values.end() ? Interval{} : median_interval(values->second);
}

std::optional<Interval> TrialResults::ratio(const Trial& trial, const std::string& metric) const {
  const auto values = trial.values.find(metric);
  const auto base = trials.front().values.find(metric);
  if (values == trial.values.end() || base == trials.front().values.end()) {
    return std::nullopt;
  }
  return ratio_interval(values->second, base->second, /*paired=*/true);
}

nlohmann::ordered_json TrialResults::json() const {
  using Json = nlohmann::ordered_json;
  Json allocators = Json::array();
  for (const Trial& trial : trials) {
    Json entry = {{"name", trial.allocator.name},
                  {"path", trial.allocator.is_system() ? trial.library.path
                                                       : trial.allocator.library.string()},
                  {"version", trial.library.version},
                  {"build_id", trial.library.build_id}};
    if (!trial.failed.empty()) {
      entry["failed"] = trial.failed;
    } else {
      for (const auto& [metric, values] : trial.values) {
        entry["metrics"][metric] = value(trial, metric).json();
        if (const auto over = ratio(trial, metric)) entry["ratios"][metric] = over->json();
        entry["runs"][metric] = values;
      }
    }
    allocators.push_back(std::move(entry));
  }
  return {{"baseline", trials.front().allocator.name},
          {"runs", runs},
          {"stopped", stopped},
          {"noise", noise},
          {"allocators", allocators}};
}

TrialResults run_trials(const TrialOptions& options) {
  TrialResults results;
  for (const Allocator& allocator : options.allocators) {
    results.trials.push_back(
        {allocator, describe(allocator), {}, why_not_taken(options.run.command, allocator)});
  }
  if (!options.work_looked_at) check_at_work(options.run.command, results.trials);
  if (const Trial& baseline = results.trials.front(); !baseline.failed.empty()) {
    throw UserError("{}: {}; carrel doctor --alloc {} -- CMD says why", baseline.allocator.name,
                    baseline.failed, baseline.allocator.name);
  }
  // The baseline's second run of each round: a trial of its own that nobody sees.
  Trial again{options.allocators.front(), {}, {}, {}};
  const std::size_t contestants = results.trials.size() + 1;
  Progress progress("comparing", static_cast<double>(contestants) * options.runs);
  double done = 0;
  for (int round = 0; round < options.runs && !interrupted(); ++round) {
    for (std::size_t i = 0; i < contestants && !interrupted(); ++i) {
      // Turning order: each round begins with another one.
      const std::size_t at = (i + static_cast<std::size_t>(round)) % contestants;
      Trial& trial = at == results.trials.size() ? again : results.trials[at];
      progress.at(done, trial.allocator.name);
      done += 1;
      if (!trial.failed.empty()) continue;
      RunOptions run_options = options.run;
      if (options.prepare) options.prepare(run_options);
      const RunResult run = run_program(trial.allocator, run_options);
      if (interrupted()) break;
      const bool baseline = at == 0 || at == results.trials.size();
      if (round == 0 && at == 0) results.exit_status = run.exit_code;
      if (run.exit_code != results.exit_status || run.exit_signal != 0) {
        if (baseline) {
          throw UserError("the program {} on {}; give a command that ends well on its own",
                          run.ending(), trial.allocator.name);
        }
        trial.failed = "the program " + run.ending();
        continue;
      }
      note(trial.values, run, options);
    }
    if (!interrupted()) results.runs = round + 1;
  }
  results.stopped = interrupted();
  // An incomplete round would pair values of different rounds.
  const auto rounds = static_cast<std::size_t>(results.runs);
  const auto cut = [&](Trial& trial) {
    for (auto& [metric, values] : trial.values) values.resize(std::min(values.size(), rounds));
  };
  for (Trial& trial : results.trials) cut(trial);
  cut(again);
  if (results.runs > 0) {
    for (const auto& [metric, values] : results.trials.front().values) {
      const auto ratio = ratio_interval(again.values[metric], values, /*paired=*/true);
      if (!ratio) continue;
      results.noise[metric] = std::max(std::fabs(ratio->low - 1), std::fabs(ratio->high - 1));
    }
  }
  return results;
}

}  // namespace carrel::tools
