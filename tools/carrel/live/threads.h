// What /proc says of single threads.
#pragma once

#include <fmt/format.h>
#include <sys/types.h>

#include <string>

#include "base/files.h"

namespace carrel::tools {

// Also of one that is still counted, as a process's first is until the last one ends.
inline bool has_ended(pid_t pid, pid_t thread) {
  const std::string stat = text_of(fmt::format("/proc/{}/task/{}/stat", pid, thread));
  const std::size_t name_end = stat.rfind(") ");  // a name may hold anything
  if (name_end == std::string::npos || name_end + 2 >= stat.size()) return true;
  const char state = stat[name_end + 2];
  return state == 'Z' || state == 'X';
}

}  // namespace carrel::tools
