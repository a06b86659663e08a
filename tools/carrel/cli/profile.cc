// carrel profile: what a program does with its memory, as an analysis document in a folder.
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "advise/gather.h"
#include "base/error.h"
#include "base/interrupt.h"
#include "base/temporary.h"
#include "cli/command.h"
#include "launch/preflight.h"
#include "resident/section.h"

namespace carrel::tools {

namespace {

struct Options {
  std::string folder = "carrel-profile";
  std::string allocator = "glibc";
  std::string max_disk = "2G";
  std::string stack_interval = "32K";
  std::vector<std::string>* command = nullptr;
  bool once = false;
  bool follow_fork = false;
  bool json = false;
};

int run(const Options& options) {
  if (options.folder.empty()) throw UsageError("-o needs the name of a folder");
  const Preflight check = preflight(*options.command);
  require_recordable(check, parse_allocator(options.allocator));
  // What measures CPU time is preloaded, also where the recording hook is linked in.
  const bool once = options.once || check.obstacle != Obstacle::kNone;
  catch_interrupts();
  const OutputFolder folder(options.folder, "profile");
  const auto say = [](const std::string& line) { fmt::print(stderr, "carrel: {}\n", line); };
  GatherOptions gather_options;
  gather_options.command = *options.command;
  gather_options.allocator = parse_allocator(options.allocator);
  gather_options.folder = folder.path();
  gather_options.max_disk = parse_bytes(options.max_disk);
  gather_options.stack_interval = parse_bytes(options.stack_interval);
  gather_options.every_process = options.follow_fork;
  gather_options.say = say;
  std::optional<Ceiling> ceiling;
  if (once && !options.once) {
    say(fmt::format("one run, without a share of CPU time: {}", check.why));
  }
  if (!once) {
    say("two runs: the first measures CPU time, its output is dropped; the second is recorded");
    RunOptions run_options;
    run_options.command = *options.command;
    run_options.quiet = true;
    try {
      ceiling = measure_ceiling(gather_options.allocator, run_options, 1);
    } catch (const UserError& error) {
      // A program that crashes is still worth recording: up to there.
      say(fmt::format("no share of CPU time: {}", error.what()));
    }
  }
  if (interrupted()) {
    throw UserError("interrupted before anything was recorded; --once records the first run");
  }
  Gathered gathered = gather(gather_options);
  if (ceiling) {
    add_ceiling(gathered.document, *ceiling,
                gathered.document.at("provenance").at("allocator").value("name", "?"));
  }
  const std::filesystem::path file = folder.path() / kDocumentFile;
  write_document(gathered.document, file);
  if (options.json) {
    fmt::print("{}\n", gathered.document.dump(1, ' ', false, Json::error_handler_t::replace));
  } else {
    fmt::print("{}{}{}: carrel report {} -o report.html draws it\n", overview(gathered.document),
               resident_text(gathered.document), file.string(), options.folder);
    for (const OtherProcess& other : gathered.others) {
      fmt::print("{}: process {}, {} events\n", (other.folder / kDocumentFile).string(), other.pid,
                 other.events);
    }
  }
  return kExitOk;
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("-o,--output", options->folder, "the folder to write to")
      ->capture_default_str();
  command.add_option("--alloc", options->allocator, "the allocator to run on: NAME or NAME=PATH")
      ->capture_default_str();
  command.add_option("--max-disk", options->max_disk, "stop recording at this size (K, M, G)")
      ->capture_default_str();
  command
      .add_option("--stack-interval", options->stack_interval,
                  "bytes between stacks of a thread; 0: every allocation")
      ->capture_default_str();
  command.add_flag("--once", options->once, "run the program only once: no share of CPU time");
  command.add_flag("--follow-fork", options->follow_fork,
                   "analyse every process, not only the one with most events");
  command.add_flag("--json", options->json, "print the analysis document");
  options->command = &program_argument(command);
  return [options] { return run(*options); };
}

const Registration kRegistration{{20, "profile", "measure what a program does with its memory",
                                  "carrel profile -o profile -- python3 -c 'print(len([[i] for i "
                                  "in range(100000)]))'",
                                  setup}};

}  // namespace

}  // namespace carrel::tools
