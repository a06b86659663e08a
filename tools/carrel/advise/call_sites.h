// Who called the allocator when time was spent in it: the gauge's log of stacks, read after the
// runs, and put into the analysis document beside the stacks of the recording.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "advise/gauge/call_log.h"
#include "trace/event.h"

namespace carrel::tools {

struct CallSites {
  // A process, from its beginning or its last exec on.
  struct Program {
    std::vector<Module> modules;
    std::map<std::vector<std::uint64_t>, std::uint64_t> ns;  // by stack, innermost first
    std::uint64_t total_ns = 0;
  };
  std::vector<Program> programs;  // that have stacks
  std::uint64_t stacks = 0;
  std::uint64_t ns = 0;          // that they stand for
  std::uint64_t dropped_ns = 0;  // of stacks that the log had no room for
};

CallSites read_call_log(const gauge::CallLog& log);

// Adds `allocator_ns` to the stacks of the document's section `stacks`, and stacks that are not yet
// there; does nothing where the document has no such section or nothing was timed.
void add_call_sites(nlohmann::ordered_json& document, const CallSites& sites);

}  // namespace carrel::tools
