// The numbers a stack has in the analysis document, and how exporters call them.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "analysis/document.h"

namespace carrel::tools {

struct Measure {
  const char* key;    // in the document
  const char* title;  // for people
  const char* type;   // pprof's name of the sample type
  const char* unit;   // bytes, count or nanoseconds
};

inline constexpr std::array<Measure, 6> kMeasures = {{
    {"bytes", "allocated bytes", "alloc_space", "bytes"},
    {"allocations", "allocations", "alloc_objects", "count"},
    {"peak_bytes", "live bytes at the peak", "peak_space", "bytes"},
    {"leaked_bytes", "live bytes at the end", "inuse_space", "bytes"},
    {"temporary", "temporary allocations", "temporary_objects", "count"},
    {"allocator_ns", "time in the allocator", "allocator_time", "nanoseconds"},
}};

// All keys, for help texts and checks of what was asked for.
inline std::vector<std::string> measure_keys() {
  std::vector<std::string> keys;
  for (const Measure& measure : kMeasures) keys.emplace_back(measure.key);
  return keys;
}

// A stack's number; 0 where the document does not have that measure.
inline std::int64_t value_of(const Json& stack, const std::string& measure) {
  return stack.value(measure, std::int64_t{0});
}

// The document's section `stacks`; throws UserError when it has none.
const Json& stacks_of(const Json& document);

}  // namespace carrel::tools
