// carrel snapshot: what lies where in the heap of a process that runs on carrel.
#include <fmt/format.h>

#include <memory>
#include <string>

#include "base/units.h"
#include "cli/command.h"
#include "snapshot/document.h"

namespace carrel::tools {

namespace {

struct Options {
  std::string process;
  std::string output;
  bool stop = false;
  bool json = false;
  std::size_t most = 10;
};

int run(const Options& options) {
  const Target target(parse_process(options.process));
  const LiveHeap live(target);
  const HeapMap map = read_map(live, options.stop);
  const Summary summary = summarize(map);
  const bool to_file = !options.output.empty() && options.output != "-";
  const std::string document =
      options.json || !options.output.empty() ? snapshot_text(live, map, summary) : "";
  if (options.json || options.output == "-") {
    fmt::print("{}", document);
  } else {
    fmt::print("{}", snapshot_table(live, map, summary, options.most));
  }
  if (!to_file) return kExitOk;
  const std::uint64_t bytes = write_snapshot(document, options.output);
  fmt::print(stderr, "{}: {}; carrel report {} -o snapshot.html draws it\n", options.output,
             human_bytes(bytes), options.output);
  return kExitOk;
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("PID", options->process, "number of a process that runs on carrel")
      ->required();
  command
      .add_option("-o,--output", options->output,
                  "the file to write; compressed if its name ends in .zst; -: standard output")
      ->check(not_empty);
  command.add_flag("--stop", options->stop,
                   "hold the process still while carrel's records are copied");
  command.add_option("--top", options->most, "how many size classes and slabs to show")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command.add_flag("--json", options->json, "print what the file would hold");
  return [options] { return run(*options); };
}

const Registration kRegistration{{87, "snapshot",
                                  "map the heap of a process that runs on carrel, slot by slot",
                                  "carrel snapshot $(pidof redis-server) -o heap.json.zst", setup}};

}  // namespace

}  // namespace carrel::tools
