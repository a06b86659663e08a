// carrel replay: carries out a trace on several allocators and measures them.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "base/error.h"
#include "cli/command.h"
#include "launch/allocators.h"
#include "replay/replay.h"

namespace carrel::tools {
namespace {

struct Options {
  std::string trace;
  std::string allocators = "glibc,carrel";
  int runs = 5;
  std::string touch = "page";
  std::string pace = "max";
  bool json = false;
};

std::string cell(const ReplayResults& results, const ReplayedAllocator& one, const char* metric,
                 double unit) {
  const Interval value = results.value(one, metric);
  const auto ratio = results.ratio(one, metric);
  if (&one == &results.allocators.front() || !ratio) {
    return fmt::format("{:>9.3f} {:<19}", value.median / unit, "");
  }
  return fmt::format(
      "{:>9.3f} {:<19}", value.median / unit,
      results.differs(one, metric)
          ? fmt::format("x{:.2f} [{:.2f}, {:.2f}]", ratio->median, ratio->low, ratio->high)
          : std::string("tie"));
}

void print(const ReplayResults& results) {
  fmt::print("{} operations of {} threads, {} allocations, {} blocks cross threads\n",
             results.facts.ops, results.facts.threads, results.facts.allocations,
             results.facts.crossing);
  fmt::print("{:<14}{:>9} {:<19}{:>9} {:<19}{:>9} {:<19}{:>9} {:<10}{:>9}{:>9}\n", "", "CPU, s", "",
             "wall, s", "", "peak, MiB", "", "end, MiB", "", "faults", "stall, s");
  for (const ReplayedAllocator& one : results.allocators) {
    if (!one.failed.empty()) {
      fmt::print("{:<14}failed: {}\n", one.allocator.name, one.failed);
      continue;
    }
    fmt::print("{:<14}{}{}{}{:>9.1f} {:<10}{:>9.0f}{:>9.3f}\n", one.allocator.name,
               cell(results, one, "cpu_s", 1), cell(results, one, "wall_s", 1),
               cell(results, one, "peak_rss_bytes", 1048576),
               results.value(one, "end_rss_bytes").median / 1048576, "",
               results.value(one, "faults").median, results.value(one, "stall_s").median);
  }
  for (const bool malloc : {true, false}) {
    bool titled = false;
    for (const ReplayedAllocator& one : results.allocators) {
      const std::vector<double>& ns = malloc ? one.malloc_ns : one.free_ns;
      if (ns.empty() || !one.failed.empty()) continue;
      if (!titled) {
        fmt::print("{} ns at", malloc ? "malloc" : "free");
        for (const double quantile : results.quantiles) fmt::print("  p{:g}", quantile * 100);
        fmt::print("\n");
        titled = true;
      }
      fmt::print("  {:<12}", one.allocator.name);
      for (const double value : ns) fmt::print("  {:.0f}", value);
      fmt::print("\n");
    }
  }
  fmt::print("The replay itself costs {:.3f} s of CPU, taken off above. Noise (A/A):",
             results.harness_cpu_s);
  for (const auto& [metric, half] : results.noise) fmt::print(" {} {:.1f}%", metric, half * 100);
  fmt::print("\n");
  for (const FidelityCheck& check : results.fidelity) {
    fmt::print("fidelity: {}: recorded {:.1f} MiB, replayed {:.1f} MiB, {}\n", check.what,
               check.recorded / 1048576, check.replayed / 1048576,
               check.ok ? "within tolerance" : "OUT OF TOLERANCE");
  }
  if (!results.unfaithful_why.empty()) {
    fmt::print("{}: {}\n", results.faithful ? "caution" : "no verdict", results.unfaithful_why);
  }
  if (results.stopped) fmt::print("interrupted: {} complete rounds\n", results.runs);
}

int run(const Options& options) {
  static const std::map<std::string, plan::Touch> kTouches = {
      {"none", plan::Touch::kNone}, {"page", plan::Touch::kPage}, {"full", plan::Touch::kFull}};
  ReplayOptions replay_options;
  replay_options.trace = options.trace;
  replay_options.allocators = parse_allocators(options.allocators);
  replay_options.runs = options.runs;
  replay_options.plan.touch = kTouches.at(options.touch);
  replay_options.plan.real_pace = options.pace == "real";
  const ReplayResults results = replay(replay_options);
  if (options.json) {
    fmt::print("{}\n",
               results.json().dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    print(results);
  }
  return kExitOk;
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("TRACE", options->trace, "the trace")->required();
  command.add_option("--alloc", options->allocators, "allocators, the first is the baseline")
      ->capture_default_str();
  command.add_option("--runs", options->runs, "runs of each")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command
      .add_option("--touch", options->touch,
                  "what is written to: none, a byte of every page (page), every byte (full)")
      ->capture_default_str()
      ->check(CLI::IsMember({"none", "page", "full"}));
  command.add_option("--pace", options->pace, "max, or real: at the recorded times")
      ->capture_default_str()
      ->check(CLI::IsMember({"max", "real"}));
  command.add_flag("--json", options->json, "as JSON");
  return [options] { return run(*options); };
}

const Registration kRegistration{{40, "replay", "carry out a trace on several allocators",
                                  "carrel replay t.crl --alloc glibc,carrel,jemalloc", setup}};

}  // namespace
}  // namespace carrel::tools
