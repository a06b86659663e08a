// The numbers a stack has in the analysis document, and how exporters call them.
#pragma once

#include <array>

#include "analysis/document.h"

namespace carrel::tools {

struct Measure {
  const char* key;    // in the document
  const char* title;  // for people
  const char* type;   // pprof's name of the sample type
  const char* unit;   // bytes or count
};

inline constexpr std::array<Measure, 5> kMeasures = {{
    {"bytes", "allocated bytes", "alloc_space", "bytes"},
    {"allocations", "allocations", "alloc_objects", "count"},
    {"peak_bytes", "live bytes at the peak", "peak_space", "bytes"},
    {"leaked_bytes", "live bytes at the end", "inuse_space", "bytes"},
    {"temporary", "temporary allocations", "temporary_objects", "count"},
}};

// The document's section `stacks`; throws UserError when it has none.
const Json& stacks_of(const Json& document);

}  // namespace carrel::tools
