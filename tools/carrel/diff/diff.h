// What changed between two analysis documents: totals, sizes, call sites, and which grew. It
// compares what two recordings say and nothing about time: recording changes the program's speed.
#pragma once

#include <string>

#include "analysis/document.h"

namespace carrel::tools {

// The difference as JSON: `before` and `after` (command, allocator, recorded_at), `measure`,
// `totals`: {what, before, after}, `sizes`: {upper_bytes, before, after} in bytes, and `stacks`:
// {frames: names, innermost first, before, after, chance: true when the measure is in bytes and
// sampling alone may have made the difference}, those that changed most first. `measure`: one of
// export's. Throws UsageError on another word.
Json diff_documents(const Json& before, const Json& after, const std::string& measure);

// The same for people; the `most` call sites that changed most.
std::string diff_text(const Json& difference, std::size_t most);

}  // namespace carrel::tools
