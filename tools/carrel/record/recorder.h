// Recording: starts a program with the hook in front of its allocator and writes what comes through
// the channel to a trace, one file for each process. The program shares nothing with this process
// but the channel's memory, so that its death, however sudden, loses no event.
//
// Threads here: the caller's waits for the program, one moves the channel's tick, one reads blocks,
// encodes, compresses and writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "launch/allocators.h"
#include "resident/picture.h"

namespace carrel::tools {

struct RecordOptions {
  std::filesystem::path output;
  std::vector<std::string> command;
  Allocator allocator{"glibc", {}};
  std::uint64_t max_disk = std::uint64_t{2} << 30;  // bytes of all files together
  bool follow_fork = false;  // a trace for every process that is started, PID in its name
  bool stacks = false;
  std::uint64_t stack_interval = 512
                                 << 10;  // bytes between stacks of a thread; 0: every allocation
  bool pictures = false;  // of the heap when resident memory is highest, and at the program's end
  std::function<void(const std::string&)> say;  // what the user must hear while it runs
};

struct RecordedProcess {
  std::int64_t pid = 0;
  std::filesystem::path file;
  std::uint64_t events = 0;
  std::uint64_t raw_bytes = 0;  // encoded, before compression
  std::uint64_t file_bytes = 0;
  std::uint64_t waited_ns = 0;
  bool truncated = false;
  std::string truncated_why;
  std::string allocator;  // path of what served malloc; its name too when it is in the program
  std::vector<HeapPicture> pictures;  // by time; empty where none was asked for or could be had
};

struct RecordResult {
  int exit_code = -1;  // -1 when a signal ended the program
  int exit_signal = 0;
  double wall_seconds = 0;
  double user_seconds = 0;
  double system_seconds = 0;
  std::vector<RecordedProcess>
      processes;                         // the program itself first; empty: the hook never came up
  std::string stopped_why;               // recording ended before the program; empty: it didn't
  std::uint64_t others = 0;              // processes that were started and not recorded
  std::vector<std::string> other_names;  // of some of them
};

// Runs the program to its end. After Ctrl-C it waits for the program to end from it; a second one
// ends this process, and the trace is left as after a kill. Throws UserError when the program
// cannot be recorded at all (static, setuid, no such file, no place for the trace), before it is
// started.
RecordResult record(const RecordOptions& options);

}  // namespace carrel::tools
