// Where the gauge writes down who called the allocator when time was spent in it: a part of the
// shared file behind the counters, filled front to back by all processes of a run and read when
// they are gone. Shared by gauge/stacks.cc and advise/call_sites.cc.
//
// Entries are words. The first holds the kind in bits 0 to 7, the length of the whole entry in
// words in 8 to 31 and the process in 32 to 63; it is written last, so that an entry that a killed
// process left unfinished begins with 0, and reading ends there.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace carrel::tools::gauge {

enum class Entry : std::uint8_t {
  kStack = 1,     // nanoseconds that it stands for, then return addresses, innermost first
  kMappings = 2,  // a number of bytes, then that much of /proc/PID/maps: the lines of code
  kProgram = 3,   // nothing: the process begins, or has become another program
};

struct CallLog {
  static constexpr std::size_t kWords = std::size_t{1} << 20;
  std::atomic<std::uint64_t> used;        // words claimed; beyond kWords nothing is written
  std::atomic<std::uint64_t> dropped_ns;  // that stacks stood for which found no room
  std::uint64_t words[kWords];
};

}  // namespace carrel::tools::gauge
