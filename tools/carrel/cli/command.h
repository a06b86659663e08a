// How a subcommand joins the carrel program: its file in cli/ holds one Registration object at
// namespace scope. No list of commands is kept by hand anywhere.
//
//   int declare-time: the setup function declares options on its CLI::App and returns what to run
//   int run-time:     the returned function, called once after parsing; its result is the exit
//   status
//
// Not here: what commands do. All of it runs on the main thread.
#pragma once

#include <sys/types.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace carrel::tools {

// Exit statuses that every command shares; `run` passes the program's own on instead.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;  // a UserError: one line on standard error said why
inline constexpr int kExitUsage = 2;    // the command line itself was wrong

using RunFunction = std::function<int()>;
using SetupFunction = RunFunction (*)(CLI::App& command);

struct CommandEntry {
  int order = 0;        // place in the help, ascending
  std::string name;     // as typed
  std::string summary;  // one line, no full stop
  std::string example;  // a whole command line that works as it stands, shown by --help
  SetupFunction setup = nullptr;
};

// Every registered command, in the order of the help.
std::vector<CommandEntry> commands();

// Adds a command when constructed. For objects of static storage duration only.
struct Registration {
  explicit Registration(CommandEntry entry);
};

// Declares "-- CMD..." as the rest of the command line and returns where the words will be. The
// vector lives as long as the program. `required` false allows none at all.
std::vector<std::string>& program_argument(CLI::App& command, bool required = true);

// The number of a process; none for a word that is no number. Throws UsageError when no process can
// have that number.
std::optional<pid_t> process_id(const std::string& word);

// The same for a word that has to be one. Throws UsageError.
pid_t parse_process(const std::string& word);

// A check of CLI11: the name of a file to write is there. "" is what is left of a variable that was
// never set.
std::string not_empty(const std::string& word);

// "512K", "2G", "1000": bytes, in powers of 1024. Throws UsageError.
std::uint64_t parse_bytes(const std::string& text);

}  // namespace carrel::tools
