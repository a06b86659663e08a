// Gathers what profile and advise work from: the ceiling, a trace, its analysis. Each is a run of
// the program of its own, so that none disturbs the other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "advise/measure.h"
#include "analysis/document.h"
#include "compare/program.h"

namespace carrel::tools {

struct GatherOptions {
  std::vector<std::string> command;
  Allocator allocator{"glibc", {}};
  std::filesystem::path folder;  // the trace goes there; must exist
  std::uint64_t max_disk = std::uint64_t{2} << 30;
  std::uint64_t stack_interval = 32 << 10;  // bytes between stacks of a thread; 0: every allocation
  bool quiet = false;                       // the recorded program's output goes to /dev/null
  bool every_process = false;  // the others are analysed too, each in a folder of its own
  std::function<void(const std::string&)> say;
};

// A process beside the one with most events.
struct OtherProcess {
  std::int64_t pid = 0;
  std::uint64_t events = 0;
  std::filesystem::path folder;  // holds its trace and its document
};

struct Gathered {
  Json document;
  std::filesystem::path trace;       // the one analysed
  std::vector<OtherProcess> others;  // with every_process; most events first
};

// Records the program and its children, and analyses the process with most events. Throws UserError
// when nothing was recorded, or a file cannot be written.
Gathered gather(const GatherOptions& options);

// Puts a ceiling's sections, cpu and latency, into a document.
void add_ceiling(Json& document, const Ceiling& ceiling, const std::string& allocator);

// An overview of the document for a terminal.
std::string overview(const Json& document);

}  // namespace carrel::tools
