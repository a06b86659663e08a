// carrel record: writes down every allocation of a program.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/command.h"
#include "launch/allocators.h"
#include "record/recorder.h"

namespace carrel::tools {
namespace {

struct Options {
  std::string output = "carrel.crl";
  std::string allocator = "glibc";
  std::string max_disk = "2G";
  std::string stack_interval = "512K";
  bool stacks = false;
  bool follow_fork = false;
  bool json = false;
  std::vector<std::string>* command = nullptr;
};

nlohmann::json to_json(const RecordResult& result) {
  nlohmann::json processes = nlohmann::json::array();
  for (const RecordedProcess& process : result.processes) {
    processes.push_back({{"pid", process.pid},
                         {"file", process.file.string()},
                         {"events", process.events},
                         {"raw_bytes", process.raw_bytes},
                         {"file_bytes", process.file_bytes},
                         {"waited_ns", process.waited_ns},
                         {"truncated", process.truncated},
                         {"truncated_why", process.truncated_why},
                         {"allocator", process.allocator}});
  }
  return {{"exit_code", result.exit_code},           {"exit_signal", result.exit_signal},
          {"wall_seconds", result.wall_seconds},     {"user_seconds", result.user_seconds},
          {"system_seconds", result.system_seconds}, {"processes", processes},
          {"not_recorded", result.others},           {"not_recorded_names", result.other_names}};
}

void print(const RecordResult& result) {
  for (const RecordedProcess& process : result.processes) {
    const double events = process.events == 0 ? 1 : static_cast<double>(process.events);
    fmt::print(stderr,
               "carrel: {}: {} events of process {} on {}, {:.2f} bytes each ({:.2f} before "
               "compression)\n",
               process.file.string(), process.events, process.pid, process.allocator,
               static_cast<double>(process.file_bytes) / events,
               static_cast<double>(process.raw_bytes) / events);
    if (process.waited_ns > 10'000'000) {
      fmt::print(stderr, "carrel: the program's threads waited {:.2f} s for the recorder\n",
                 static_cast<double>(process.waited_ns) * 1e-9);
    }
    if (process.truncated) {
      fmt::print(stderr, "carrel: {} is truncated: {}\n", process.file.string(),
                 process.truncated_why);
    }
  }
  if (result.others != 0) {
    fmt::print(stderr, "carrel: {} other process{} not recorded ({}); --follow-fork records {}\n",
               result.others, result.others == 1 ? " was" : "es were",
               fmt::join(result.other_names, ", "), result.others == 1 ? "it" : "them");
  }
  if (result.exit_signal != 0) {
    fmt::print(stderr, "carrel: signal {} ended the program; its trace reaches to that moment\n",
               result.exit_signal);
  }
}

int run(const Options& options) {
  RecordOptions record_options;
  record_options.output = options.output;
  record_options.command = *options.command;
  record_options.allocator = parse_allocator(options.allocator);
  record_options.max_disk = parse_bytes(options.max_disk);
  record_options.stacks = options.stacks;
  record_options.stack_interval = parse_bytes(options.stack_interval);
  record_options.follow_fork = options.follow_fork;
  record_options.say = [](const std::string& line) { fmt::print(stderr, "carrel: {}\n", line); };
  const RecordResult result = record(record_options);
  if (options.json) {
    fmt::print("{}\n",
               to_json(result).dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    print(result);
  }
  if (result.processes.empty()) {
    if (!result.stopped_why.empty())
      throw UserError("nothing was recorded: {}", result.stopped_why);
    throw UserError("the program never loaded the recording library; carrel doctor -- {} says why",
                    options.command->front());
  }
  return result.exit_signal != 0 ? 128 + result.exit_signal : result.exit_code;
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("-o,--output", options->output, "the trace's file")->capture_default_str();
  command
      .add_option("--alloc", options->allocator, "the allocator to record on: NAME or NAME=PATH")
      ->capture_default_str();
  command
      .add_option("--max-disk", options->max_disk,
                  "stop recording before the files are this large (K, M, G)")
      ->capture_default_str();
  command.add_flag("--stacks", options->stacks, "take stacks of call sites");
  command
      .add_option("--stack-interval", options->stack_interval,
                  "bytes between stacks of a thread; 0: every allocation")
      ->capture_default_str();
  command.add_flag("--follow-fork", options->follow_fork,
                   "a trace for every process, its id in the file's name");
  command.add_flag("--json", options->json, "print what was recorded as JSON");
  options->command = &program_argument(command);
  return [options] { return run(*options); };
}

const Registration kRegistration{{30, "record", "write down every allocation of a program",
                                  "carrel record -o t.crl -- python3 -c 'print(sum(range(10)))'",
                                  setup}};

}  // namespace
}  // namespace carrel::tools
