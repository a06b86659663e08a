// One run of a program on an allocator, from its start to its end: time, CPU time, peak resident
// memory, how it ended. It doesn't judge whether the allocator took effect, nor repeat anything.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "launch/allocators.h"

namespace carrel::tools {

struct RunOptions {
  std::vector<std::string> command;             // the program and its arguments; not empty
  std::vector<std::filesystem::path> in_front;  // preloaded before the allocator
  std::vector<std::string> environment;         // NAME=VALUE beyond this process's own
  bool quiet = false;                           // output goes to /dev/null
  std::string metric_command;                   // run by the shell afterwards, see RunResult
};

struct RunResult {
  double wall_s = 0;
  double cpu_s = 0;  // user and system, of the program and the children it waited for
  std::uint64_t peak_rss_bytes = 0;  // of the largest process among them
  int exit_code = -1;                // -1: ended by a signal
  int exit_signal = 0;
  double metric = 0;  // the number that metric_command printed

  bool well() const { return exit_code == 0; }
  std::string ending() const;  // in words
};

// Runs it to its end. Its standard input is this process's. A signal that asks this process to stop
// is passed on, and interrupted() is true afterwards. Throws UserError when the program cannot be
// started or metric_command prints no number.
RunResult run_program(const Allocator& allocator, const RunOptions& options);

}  // namespace carrel::tools
