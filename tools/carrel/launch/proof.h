// Which file serves malloc in a program, found out from a process of it rather than assumed.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "launch/allocators.h"

namespace carrel::tools {

// Where a process's functions come from, by symbol name ("malloc", "free", "_Znwm" for operator
// new); only those that it has.
struct Bindings {
  std::map<std::string, std::string> files;
  std::string loader_messages;  // what the dynamic linker had to say
  // The file that malloc comes from, empty when nothing is known.
  std::string malloc() const;
};

// Starts `command` on `allocator` as far as its first constructors and asks it. The program itself
// doesn't run. Throws UserError when it cannot be started or gives no answer.
Bindings ask_program(const std::vector<std::string>& command, const Allocator& allocator);

// The same for a process that runs, read from its memory. Throws UserError when there is no such
// process, when it may not be read, and when it is static.
Bindings ask_process(pid_t pid);

// Whether `file` is what `allocator` preloads; for glibc whether it is a libc.
bool is_of(const Allocator& allocator, const std::string& file);

// The environment in which `command`, once exec'ed by this process, proves by itself that malloc
// comes from `allocator` and ends with status 125 otherwise.
std::vector<std::string> proving_environment(const Allocator& allocator);

}  // namespace carrel::tools
