// From a trace to a plan that players carry out. Reads the trace twice; the plan is a file that is
// mapped, 32 bytes an event, and needs little memory beside it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "replay/plan_format.h"
#include "trace/trace_reader.h"

namespace carrel::tools {

struct PlanOptions {
  plan::Touch touch = plan::Touch::kPage;
  bool real_pace = false;
};

// What the plan holds, counted while it was made.
struct PlanFacts {
  std::uint64_t ops = 0;
  std::uint64_t allocations = 0;
  std::uint32_t threads = 0;
  std::uint64_t crossing = 0;         // blocks that more than one thread touches
  std::uint64_t peak_live_bytes = 0;  // in the order of the trace
  std::uint64_t skipped = 0;          // ends of blocks the trace did not see begin
};

// Writes the plan for `reader`'s trace to `path`, which is made anew. `progress` gets the share
// that is done. Throws UserError.
PlanFacts make_plan(TraceReader& reader, const PlanOptions& options,
                    const std::filesystem::path& path,
                    const std::function<void(double)>& progress = {});

}  // namespace carrel::tools
