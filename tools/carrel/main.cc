// carrel: measures what a program does with its memory, replays it on other allocators, and says
// which one serves it. This file parses the command line and reports errors; each command is a file
// in cli/.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iostream>
#include <string>
#include <system_error>

#include "base/error.h"
#include "carrel/carrel.h"
#include "cli/command.h"

namespace {

using namespace carrel::tools;

// A word of no command, said before CLI11 calls it an argument that was not expected.
void check_command(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  const std::string word = argv[1];
  std::string names;
  for (const CommandEntry& entry : commands()) {
    if (entry.name == word) return;
    names += (names.empty() ? "" : ", ") + entry.name;
  }
  throw UsageError("there is no command '{}'; the commands: {}", word, names);
}

// What CLI11 says, without the "--" that it counts among the arguments it did not expect.
std::string words_of(const CLI::ParseError& error) {
  std::string words = error.what();
  const std::size_t at = words.find(": -- ");
  if (at != std::string::npos) words.erase(at + 1, 3);
  return words;
}

// What was printed may still be in buffers; a full disk shows only when they are written.
void flush_output() {
  std::cout.flush();
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0 || !std::cout) {
    throw UserError("cannot write to standard output: {}; is its disk full?",
                    std::strerror(errno != 0 ? errno : EIO));
  }
}

int run(int argc, char** argv) {
  CLI::App app{"carrel: which allocator serves this program, measured"};
  app.set_version_flag("--version", fmt::format("carrel {}.{}.{}", CARREL_VERSION_MAJOR,
                                                CARREL_VERSION_MINOR, CARREL_VERSION_PATCH));
  app.require_subcommand(1);
  app.footer("carrel COMMAND --help shows an example of each");
  check_command(argc, argv);
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
    if (error.get_exit_code() != 0) {
      throw UsageError("{}; --help after the command shows how", words_of(error));
    }
    app.exit(error);
    flush_output();
    return kExitOk;
  }
  const int status = chosen();
  flush_output();
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const UsageError& error) {
    fmt::print(stderr, "carrel: {}\n", error.what());
    return kExitUsage;
  } catch (const UserError& error) {
    fmt::print(stderr, "carrel: {}\n", error.what());
  } catch (const std::system_error& error) {
    // What fmt throws when standard output takes no more.
    fmt::print(stderr, "carrel: {}\n", error.what());
  } catch (const std::exception& error) {
    fmt::print(stderr, "carrel: unexpected: {}\n", error.what());
  }
  return kExitFailure;
}
