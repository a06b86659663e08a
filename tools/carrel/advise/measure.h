// The ceiling: what share of a program's CPU time goes to its allocator, measured on the program
// itself with nothing recorded. Two measures that know nothing of each other: sampling, and timing
// of some calls. No faster allocator can save more CPU time than this share by its own speed.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "advise/call_sites.h"
#include "advise/gauge/counters.h"
#include "base/temporary.h"
#include "compare/program.h"
#include "compare/statistics.h"

namespace carrel::tools {

struct Ceiling {
  Interval in_allocator;  // by sampling, or by timed calls when samples are too few
  bool by_samples = false;
  std::uint64_t samples = 0;  // signals delivered, and those in the allocator
  std::uint64_t samples_inside = 0;
  double period_us = 0;
  double cpu_s = 0;  // of all runs together
  double seen = 0;   // share of cpu_s that samples account for
  std::uint64_t calls = 0;
  std::uint64_t timed = 0;
  double timed_share = 0;     // by timed calls
  double timed_error = 0;     // that the clock's own cost may make in it
  bool agree = false;         // the two measures
  std::uint64_t watched = 0;  // timed calls that were watched for sleeping; 0: of one thread only
  double sleeping_calls = 0;  // share of them in which the thread slept, as it does for a lock
  double sleeping_time = 0;   // share that these took of the time of all, by the clock
  std::uint64_t processes = 0;
  int runs = 0;
  std::array<std::uint64_t, kLatencyClasses> allocation_ns{};
  std::array<std::uint64_t, kLatencyClasses> free_ns{};
  CallSites sites;  // of the timed calls

  nlohmann::ordered_json json() const;  // the section `cpu` of the analysis document
};

// Puts the gauge in front of runs and reads what it counted.
class GaugeFile {
 public:
  enum class Stacks : bool { kNone, kOfTimedCalls };
  // Throws UserError when it cannot be made.
  explicit GaugeFile(Stacks stacks = Stacks::kNone);
  ~GaugeFile();
  GaugeFile(const GaugeFile&) = delete;
  GaugeFile& operator=(const GaugeFile&) = delete;

  void prepare(RunOptions& options) const;
  void reset();
  const gauge::Counters& counters() const { return *counters_; }
  // The latency below which `share` of the timed allocations stay, in ns.
  double allocation_quantile(double share) const;

 private:
  TemporaryFile file_{"gauge"};
  // Without stacks the file ends before the log, which nobody then touches.
  gauge::Counters* counters_ = nullptr;
  Stacks stacks_;
};

// Runs the program on `allocator` with the gauge in front, again until there are enough samples or
// `most_runs` are done. Throws UserError when the program cannot be started, fails, or nothing of
// its allocation was seen.
Ceiling measure_ceiling(const Allocator& allocator, const RunOptions& options, int most_runs);

// The latency below which `share` of the timed calls stay, in ns; 0 when there are none.
double latency_quantile(const std::array<std::uint64_t, kLatencyClasses>& classes, double share);

}  // namespace carrel::tools
