// The analysis document's call sites in the formats of other tools: pprof (gzip-less protocol
// buffers, which google/pprof reads), speedscope, massif, and folded stacks as flame graph scripts
// take them. All stacks outermost first in the document; each format wants its own order.
#pragma once

#include <string>

#include "analysis/document.h"

namespace carrel::tools {

// Which of a stack's numbers, for formats that hold one: bytes, allocations, peak_bytes,
// leaked_bytes or temporary. Throws UsageError on another word.
void check_measure(const std::string& measure);

// All but massif throw UserError when the document holds no stacks.
std::string export_pprof(const Json& document);       // all measures, as sample types
std::string export_speedscope(const Json& document);  // a profile a measure
std::string export_folded(const Json& document, const std::string& measure);
// Live bytes over time, and the tree of their peak when there are stacks. ms_print reads it.
std::string export_massif(const Json& document);

}  // namespace carrel::tools
