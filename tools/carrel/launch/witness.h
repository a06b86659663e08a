// What became of a program that was started on an allocator: which process did the work, and where
// its malloc comes from once it has become what it becomes. A wrapper that is asked before its
// first line may exec a program that takes nothing (static, or with the environment cleared).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "launch/allocators.h"

namespace carrel::tools {

struct Worker {
  pid_t pid = 0;
  std::string executable;
  double cpu_s = 0;
  std::string malloc;  // the file that it comes from at the process's end
  std::string why;     // it takes no allocator: it is static; else empty
};

// Runs `command` to its end on `allocator`, its output dropped, and looks at each of its processes
// when that ends. The one with most CPU time; nothing when the system does not let a process be
// traced, or the run was interrupted. What the program leaves running is ended. Throws UserError
// when it cannot be started.
std::optional<Worker> find_worker(const std::vector<std::string>& command,
                                  const Allocator& allocator);

// Why nothing measured on `allocator` would be about it: what does the work is not served by it.
// Empty when it is served or that cannot be told.
std::string why_not_at_work(const std::vector<std::string>& command, const Allocator& allocator);

}  // namespace carrel::tools
