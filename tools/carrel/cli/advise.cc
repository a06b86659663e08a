// carrel advise: from a program, or a trace of one, to a verdict.
#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "advise/advise.h"
#include "base/error.h"
#include "cli/command.h"

namespace carrel::tools {

namespace {

struct Options {
  AdviseOptions advise;
  std::string goal = "cpu";
  std::string min_gain = "3%";
  std::string allocators;
  std::string trace;
  std::string document;
  std::vector<std::string>* words = nullptr;
  bool json = false;
};

// "3%" or "0.03".
double parse_share(const std::string& text) {
  std::size_t used = 0;
  double value = -1;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  const bool is_percent = used + 1 == text.size() && text.back() == '%';
  if (is_percent) value /= 100;
  if (used == 0 || (!is_percent && used != text.size()) || !(value >= 0 && value < 1)) {
    throw UsageError("--min-gain {}: give a percentage from 0% to 99%, such as 3%", text);
  }
  return value;
}

int run(Options& options) {
  static const std::map<std::string, Goal> goals = {
      {"cpu", Goal::kCpu}, {"rss", Goal::kRss}, {"tail", Goal::kTail}};
  AdviseOptions& advise_options = options.advise;
  advise_options.verdict.goal = goals.at(options.goal);
  advise_options.verdict.min_gain = parse_share(options.min_gain);
  advise_options.command = *options.words;
  advise_options.say = [](const std::string& line) { fmt::print(stderr, "carrel: {}\n", line); };
  if (!options.allocators.empty()) {
    advise_options.allocators = parse_allocators(options.allocators);
  }
  Json document;
  if (!options.document.empty()) {
    document = read_document(options.document);
    document["verdict"] = decide(document, advise_options.verdict);
  } else {
    // A program whose name ends like a trace's must be given with an argument.
    if (advise_options.command.size() == 1 && advise_options.command[0].ends_with(".crl")) {
      if (advise_options.verdict.goal == Goal::kTail) {
        throw UsageError(
            "--goal tail needs real runs, a trace has none; give the program after --, or ask for "
            "cpu or rss");
      }
      advise_options.trace = advise_options.command[0];
      advise_options.command.clear();
    }
    document = advise(advise_options);
  }
  if (options.json) {
    fmt::print("{}\n", document.dump(1, ' ', false, Json::error_handler_t::replace));
  } else {
    fmt::print("{}", advice_text(document));
  }
  return document.at("verdict").at("exit_code").get<int>();
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  AdviseOptions& advise_options = options->advise;
  command
      .add_option("--goal", options->goal,
                  "what matters: cpu time, rss (peak resident memory), tail (slowest calls)")
      ->capture_default_str()
      ->check(CLI::IsMember({"cpu", "rss", "tail"}));
  command.add_option("--min-gain", options->min_gain, "what a change must gain to be worth it")
      ->capture_default_str();
  command.add_flag("--hardened", advise_options.verdict.hardened,
                   "safety is the goal: recommend a hardened allocator and name its price");
  command.add_option("--alloc", options->allocators,
                     "allocators by name or NAME=PATH, separated by commas, the first is the "
                     "baseline; all that are found if absent");
  command.add_option("--runs", advise_options.runs, "real runs of each; 0: as time allows")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000));
  command.add_flag("--all", advise_options.all,
                   "replay and compare even when the ceiling leaves nothing to win");
  command.add_option("-o,--output", advise_options.folder,
                     "keep the trace and the analysis document in this folder");
  command.add_option("--from", options->document,
                     "decide from an analysis document instead of running anything");
  command.add_flag("--json", options->json, "print the analysis document, the verdict in it");
  options->words = &program_argument(command, /*required=*/false);
  return [options] {
    if (options->words->empty() && options->document.empty()) {
      throw UsageError("give the program after --, or a trace, or --from DOCUMENT");
    }
    return run(*options);
  };
}

const Registration kRegistration{
    {10, "advise", "tell which allocator serves a program best, or to keep what it has",
     "carrel advise --goal cpu -- python3 -c 'print(sum(len(str(i)) for i in range(3000000)))'",
     setup}};

}  // namespace

}  // namespace carrel::tools
