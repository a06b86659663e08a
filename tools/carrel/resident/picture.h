// A picture of a process's memory at one moment of its recording: which pages of which mappings are
// in memory, carrel's heap where it is on carrel, and how many events each thread's trace had by
// then. What the parts are is worked out in account.h, together with the trace.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "snapshot/heap_map.h"

namespace carrel::tools {

struct AddressRun {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
};

struct HeapPicture {
  std::uint64_t time_ns = 0;  // since the trace began
  bool at_end = false;        // of the program; else when its resident memory was highest
  // Beginnings and ends of blocks that each thread had recorded, by its number.
  std::vector<std::uint64_t> events;

  // Of the whole process, as smaps says; without the memory that it shares with its recorder.
  std::uint64_t rss_bytes = 0;
  std::uint64_t file_bytes = 0;   // of it mapped files: code and data
  std::uint64_t stack_bytes = 0;  // the first thread's stack

  // Anonymous mappings and what of them is in memory; both by address.
  std::vector<AddressRun> mappings;
  std::vector<AddressRun> resident;

  std::optional<HeapMap> heap;  // where carrel serves malloc
};

// `allocator`: the file that serves malloc. Throws UserError when the process has ended or may not
// be read.
HeapPicture look_at_heap(pid_t pid, const std::string& allocator);

}  // namespace carrel::tools
