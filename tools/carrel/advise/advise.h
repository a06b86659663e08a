// Advice: the whole way from a program to a verdict. The ceiling and a recording first; unless the
// ceiling settles it, replays of the recording on other allocators, real runs of the most
// promising, the decision.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "advise/verdict.h"
#include "analysis/document.h"
#include "launch/allocators.h"

namespace carrel::tools {

struct AdviseOptions {
  VerdictOptions verdict;
  std::vector<std::string> command;  // empty when a trace is given
  std::filesystem::path trace;
  std::vector<Allocator> allocators;  // the first is the baseline; empty: what the
                                      // trace was recorded on, and all that are found
  int runs = 0;                       // real runs of each; 0: as many as fit some time
  bool all = false;                   // go on even when the ceiling settles it
  std::string folder;  // where to keep things, written after each step; empty: nowhere
  std::function<void(const std::string&)> say;
};

// The analysis document with its verdict. Throws UserError when the program cannot be measured.
Json advise(const AdviseOptions& options);

// What advise prints: an overview, the tables, the verdict.
std::string advice_text(const Json& document);

}  // namespace carrel::tools
