// The checker's command line: which scenarios, how far, and what was found.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "scenarios.h"

namespace model {
Scenario weak_dekker();
}

namespace {

using model::Bounds;
using model::Outcome;
using model::Scenario;

struct Arguments {
  std::string scenario;
  Bounds bounds = {.preemptions = -1, .stale_reads = -1};
  double seconds = 1e9;  // for each scenario
  bool list = false;
  bool sites = false;
  bool trace = false;
  bool quiet = false;
};

[[noreturn]] void usage() {
  std::fputs(
      "usage: carrel_model [--scenario NAME] [--preemptions N] [--stale N] [--seconds S]\n"
      "                    [--weaken PC[,PC...]] [--trace] [--sites] [--list] [--quiet]\n"
      "Runs every execution of each scenario within the bounds (by default those of the smoke\n"
      "test), at most S seconds of processor time each. --trace prints the steps of an\n"
      "execution that failed. Exit status 1: a failure was found.\n",
      stderr);
  std::exit(2);
}

Arguments parse(int count, char** values) {
  Arguments arguments;
  for (int i = 1; i < count; ++i) {
    const std::string key = values[i];
    if (key == "--list") {
      arguments.list = true;
    } else if (key == "--sites") {
      arguments.sites = true;
    } else if (key == "--trace") {
      arguments.trace = true;
    } else if (key == "--quiet") {
      arguments.quiet = true;
    } else if (i + 1 == count) {
      usage();
    } else {
      char* value = values[++i];
      if (key == "--scenario") {
        arguments.scenario = value;
      } else if (key == "--preemptions") {
        arguments.bounds.preemptions = std::atoi(value);
      } else if (key == "--stale") {
        arguments.bounds.stale_reads = std::atoi(value);
      } else if (key == "--seconds") {
        arguments.seconds = std::atof(value);
      } else if (key == "--weaken") {
        for (char* pc = std::strtok(value, ","); pc != nullptr; pc = std::strtok(nullptr, ",")) {
          model::weaken(std::strtoul(pc, nullptr, 0));
        }
      } else {
        usage();
      }
    }
  }
  return arguments;
}

double seconds_used() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

bool run(const Scenario& scenario, const Arguments& arguments) {
  Bounds bounds = arguments.bounds;
  if (bounds.preemptions < 0) bounds.preemptions = scenario.smoke.preemptions;
  if (bounds.stale_reads < 0) bounds.stale_reads = scenario.smoke.stale_reads;
  const double start = seconds_used();
  const Outcome outcome = model::explore(scenario, bounds, arguments.seconds);
  const double took = seconds_used() - start;
  if (!outcome.failure.empty()) {
    std::printf(
        "FAIL  %s: %s\n      in execution %lu (choices %s); see it: carrel_model --scenario %s "
        "--preemptions %d --stale %d --trace\n",
        scenario.name, outcome.failure.c_str(), outcome.executions, outcome.choices.c_str(),
        scenario.name, bounds.preemptions, bounds.stale_reads);
    if (arguments.trace) model::trace_last();
    return false;
  }
  if (!arguments.quiet) {
    std::printf("ok    %-16s %9lu executions, %d preemptions, %d stale reads, %s, %.1f s: %s\n",
                scenario.name, outcome.executions, bounds.preemptions, bounds.stale_reads,
                outcome.complete ? "all" : "not all", took, scenario.about);
    std::fflush(stdout);
  }
  return true;
}

}  // namespace

int main(int count, char** values) {
  const Arguments arguments = parse(count, values);
  if (!model::memory::initialize()) {
    std::puts("no address space for the checker");
    return 77;
  }
  // A checker that misses what weak memory allows would find nothing.
  if (model::explore(model::weak_dekker(), {4, 4}, 10).failure.empty()) {
    std::puts("FAIL  the checker does not see a reordering that C++ allows");
    return 1;
  }
  bool known = arguments.scenario.empty();
  int failures = 0;
  for (const Scenario& scenario : model::scenarios()) {
    if (arguments.list) std::printf("%-16s %s\n", scenario.name, scenario.about);
    if (!arguments.scenario.empty() && arguments.scenario != scenario.name) continue;
    known = true;
    if (arguments.list) continue;
    failures += run(scenario, arguments) ? 0 : 1;
  }
  if (!known) usage();
  if (arguments.sites) {
    for (const model::Site& site : model::sites_seen()) {
      std::printf("site %#lx %s %d\n", site.pc, site.operation, site.order);
    }
  }
  return failures == 0 ? 0 : 1;
}
