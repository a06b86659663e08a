// carrel: measures what a program does with its memory, replays it on other allocators, and says
// which one serves it. This file parses the command line and reports errors; each command is a file
// in cli/.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "base/error.h"
#include "base/interrupt.h"
#include "carrel/carrel.h"
#include "cli/command.h"

namespace {

using namespace carrel::tools;

int run(int argc, char** argv) {
  CLI::App app{"carrel: which allocator serves this program, measured"};
  app.set_version_flag("--version", fmt::format("carrel {}.{}.{}", CARREL_VERSION_MAJOR,
                                                CARREL_VERSION_MINOR, CARREL_VERSION_PATCH));
  app.require_subcommand(1);
  app.footer("carrel COMMAND --help shows an example of each");
  RunFunction chosen;
  for (const CommandEntry& entry : commands()) {
    CLI::App* command = app.add_subcommand(entry.name, entry.summary);
    command->footer("Example:\n  " + entry.example);
    RunFunction function = entry.setup(*command);
    command->callback([&chosen, function] { chosen = function; });
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? kExitOk : kExitUsage;
  }
  return chosen();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const UserError& error) {
    fmt::print(stderr, "carrel: {}\n", error.what());
  } catch (const std::exception& error) {
    fmt::print(stderr, "carrel: unexpected: {}\n", error.what());
  }
  return kExitFailure;
}
