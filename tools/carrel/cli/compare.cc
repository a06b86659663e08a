// carrel compare: real runs of a program on several allocators, in turn.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/command.h"
#include "compare/table.h"
#include "compare/trials.h"
#include "launch/preflight.h"

namespace carrel::tools {

namespace {

struct Options {
  std::string allocators;
  std::string metric_command;
  std::vector<std::string>* command = nullptr;
  int runs = 5;
  bool json = false;
  bool show_output = false;
};

int run(const Options& options) {
  require_preloadable(preflight(*options.command));
  TrialOptions trials;
  trials.run.command = *options.command;
  trials.run.quiet = !options.show_output;
  trials.run.metric_command = options.metric_command;
  trials.runs = options.runs;
  trials.allocators =
      options.allocators.empty() ? find_allocators() : parse_allocators(options.allocators);
  const TrialResults results = run_trials(trials);
  if (results.runs == 0) throw UserError("interrupted before the first round was complete");
  if (results.exit_status != 0) {
    fmt::print(
        stderr,
        "carrel: the program exited with status {} in every run; --show-output shows whether "
        "it did what you meant\n",
        results.exit_status);
  }
  if (options.json) {
    fmt::print("{}\n", results.json().dump(1));
    return kExitOk;
  }
  fmt::print("{}", comparison_table(results.json()));
  fmt::print(
      "Medians of {} interleaved runs each; in brackets 95% bootstrap intervals. Below 1 is "
      "better.{}\n",
      results.runs, results.stopped ? " Interrupted: fewer runs than asked for." : "");
  return kExitOk;
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("--alloc", options->allocators,
                     "allocators by name or NAME=PATH, separated by commas, the first is the "
                     "baseline; all that are found if absent");
  command.add_option("--runs", options->runs, "runs of each")
      ->capture_default_str()
      ->check(CLI::Range(2, 1000));
  command.add_option("--metric-cmd", options->metric_command,
                     "a shell command, run after each run, that prints one number to compare too");
  command.add_flag("--show-output", options->show_output, "let the program print");
  command.add_flag("--json", options->json, "every run as JSON on standard output");
  options->command = &program_argument(command);
  return [options] { return run(*options); };
}

const Registration kRegistration{{60, "compare", "run a program on several allocators, in turn",
                                  "carrel compare --alloc glibc,carrel -- sqlite3 :memory: "
                                  "'select count(*) from generate_series(1, 1000000)'",
                                  setup}};

}  // namespace

}  // namespace carrel::tools
