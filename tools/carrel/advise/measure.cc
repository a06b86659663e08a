// The ceiling: see the header. One file of counters serves all runs, so that they add up.
#include "advise/measure.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <string>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "launch/paths.h"

namespace carrel::tools {

namespace {

constexpr std::uint64_t kPeriod_ns = 1'000'000;
constexpr std::uint64_t kEnoughSamples = 600;
constexpr std::uint64_t kFewSamples = 60;  // below: timed calls decide
constexpr double kLeastSeen = 0.5;
// What a timed call may be off by: the clock is read twice, its cost is known to about this.
constexpr double kClockError_ns = 15;

Ceiling settle(const gauge::Counters& counters, double cpu_s, int runs) {
  Ceiling ceiling;
  ceiling.samples = counters.signals;
  ceiling.samples_inside = counters.signals_inside;
  ceiling.period_us = kPeriod_ns / 1e3;
  ceiling.cpu_s = cpu_s;
  ceiling.processes = counters.processes;
  ceiling.runs = runs;
  ceiling.calls = counters.calls;
  ceiling.timed = counters.timed;
  const auto periods = static_cast<double>(counters.periods.load());
  const auto inside = static_cast<double>(counters.periods_inside.load());
  ceiling.seen = cpu_s > 0 ? periods * kPeriod_ns / 1e9 / cpu_s : 0;
  ceiling.timed_share =
      cpu_s > 0 ? std::min(1.0, static_cast<double>(counters.time_ns.load()) / 1e9 / cpu_s) : 0;
  ceiling.timed_error =
      cpu_s > 0 ? static_cast<double>(ceiling.calls) * kClockError_ns / 1e9 / cpu_s : 0;
  const double share = periods > 0 ? inside / periods : 0;
  const auto signals = static_cast<double>(ceiling.samples);
  const Interval sampled = share_interval(share * signals, signals);
  ceiling.by_samples = ceiling.samples >= kFewSamples && ceiling.seen >= kLeastSeen;
  if (ceiling.by_samples) {
    ceiling.in_allocator = sampled;
  } else {
    ceiling.in_allocator = {ceiling.timed_share,
                            std::max(0.0, ceiling.timed_share - ceiling.timed_error),
                            std::min(1.0, ceiling.timed_share + ceiling.timed_error)};
  }
  // Besides the clock, a timed call cannot see how the caches of the two measures differ.
  const double tolerance = ceiling.timed_error + 0.02;
  ceiling.agree = ceiling.by_samples && ceiling.timed_share >= sampled.low - tolerance &&
                  ceiling.timed_share <= sampled.high + tolerance;
  ceiling.watched = counters.watched;
  if (ceiling.watched != 0) {
    ceiling.sleeping_calls =
        static_cast<double>(counters.slept) / static_cast<double>(ceiling.watched);
    ceiling.sleeping_time = static_cast<double>(counters.slept_ns) /
                            std::max(1.0, static_cast<double>(counters.watched_ns));
  }
  for (std::size_t i = 0; i < kLatencyClasses; ++i) {
    ceiling.allocation_ns[i] = counters.allocation_ns[i];
    ceiling.free_ns[i] = counters.free_ns[i];
  }
  ceiling.sites = read_call_log(counters.log);
  return ceiling;
}

}  // namespace

GaugeFile::GaugeFile(Stacks stacks) : stacks_(stacks) {
  const int file = open(file_.path().c_str(), O_RDWR | O_CLOEXEC);
  const std::size_t bytes = stacks_ == Stacks::kOfTimedCalls ? sizeof(gauge::Counters)
                                                             : offsetof(gauge::Counters, log.words);
  // Allocated, not only sized: a full disk is to be an error here, not a signal at some store.
  const int refused = file < 0 ? errno : posix_fallocate(file, 0, static_cast<off_t>(bytes));
  if (refused != 0) {
    if (file >= 0) close(file);
    throw UserError("cannot size {}: {}; set TMPDIR to a folder with room", file_.path().string(),
                    std::strerror(refused));
  }
  void* place = mmap(nullptr, sizeof(gauge::Counters), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (place == MAP_FAILED) {
    throw UserError("cannot map {}: {}; free some memory", file_.path().string(),
                    std::strerror(errno));
  }
  counters_ = static_cast<gauge::Counters*>(place);
  reset();
}

GaugeFile::~GaugeFile() { munmap(counters_, sizeof(gauge::Counters)); }

void GaugeFile::prepare(RunOptions& options) const {
  options.in_front.insert(options.in_front.begin(), own_file("libcarrel-gauge.so"));
  options.environment.push_back(fmt::format("{}={}", gauge::kEnvironment, file_.path().string()));
}

// Between runs: no process counts into it.
void GaugeFile::reset() {
  const std::uint64_t used = std::min<std::uint64_t>(counters_->log.used, gauge::CallLog::kWords);
  std::memset(static_cast<void*>(counters_), 0,
              offsetof(gauge::Counters, log.words) + used * sizeof(std::uint64_t));
  counters_->magic = gauge::kMagic;
  counters_->period_ns = kPeriod_ns;
  counters_->wants_stacks = stacks_ == Stacks::kOfTimedCalls ? 1 : 0;
}

double GaugeFile::allocation_quantile(double share) const {
  std::array<std::uint64_t, kLatencyClasses> classes{};
  for (std::size_t i = 0; i < classes.size(); ++i) classes[i] = counters_->allocation_ns[i];
  return latency_quantile(classes, share);
}

nlohmann::ordered_json Ceiling::json() const {
  return {{"in_allocator", in_allocator.json()},
          {"by", by_samples ? "samples" : "timed calls"},
          {"samples", samples},
          {"samples_in_allocator", samples_inside},
          {"period_us", period_us},
          {"cpu_s", cpu_s},
          {"seen", seen},
          {"calls", calls},
          {"timed_calls", timed},
          {"timed_share", timed_share},
          {"timed_error", timed_error},
          {"agree", agree},
          {"watched_calls", watched},
          {"sleeping_calls", sleeping_calls},
          {"sleeping_time", sleeping_time},
          {"processes", processes},
          {"runs", runs}};
}

Ceiling measure_ceiling(const Allocator& allocator, const RunOptions& options, int most_runs) {
  GaugeFile file(GaugeFile::Stacks::kOfTimedCalls);
  RunOptions gauged = options;
  file.prepare(gauged);
  Progress progress("measuring the ceiling", most_runs);
  double cpu_s = 0;
  int runs = 0;
  while (runs < most_runs && !interrupted()) {
    progress.at(runs);
    const RunResult run = run_program(allocator, gauged);
    if (run.exit_signal != 0 && !interrupted()) {
      throw UserError("the program {} under measurement; does it run without carrel?",
                      run.ending());
    }
    cpu_s += run.cpu_s;
    ++runs;
    if (file.counters().signals >= kEnoughSamples) break;
  }
  const gauge::Counters& counters = file.counters();
  if (counters.processes == 0) {
    throw UserError(
        "nothing of the program's allocation was seen: it is static, set-user-id or "
        "exports malloc itself; carrel doctor -- CMD tells which");
  }
  // Writing stacks is the gauge's own work.
  cpu_s -= std::min(cpu_s / 2, static_cast<double>(counters.stacks_cpu_ns.load()) / 1e9);
  return settle(counters, cpu_s, runs);
}

double latency_quantile(const std::array<std::uint64_t, kLatencyClasses>& classes, double share) {
  std::uint64_t all = 0;
  for (const std::uint64_t count : classes) all += count;
  if (all == 0) return 0;
  const auto wanted = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(all)));
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < classes.size(); ++i) {
    below += classes[i];
    if (below >= wanted) {
      // The middle of the class.
      const auto low = static_cast<double>(latency_floor(i));
      const auto high = static_cast<double>(latency_floor(i + 1));
      return (low + high) / 2;
    }
  }
  return 0;
}

}  // namespace carrel::tools
