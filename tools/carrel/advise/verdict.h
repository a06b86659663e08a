// The verdict: from an analysis document with what was measured, what to do about the allocator. A
// pure function of the document: the same numbers give the same verdict, whoever's allocator wins.
//
// The rule, in the order it is asked:
//   1. goal cpu, and the ceiling's upper bound is below min_gain: keep. Nothing faster can matter.
//   2. hardened asked: the hardened allocator among those measured, with its price named.
//   3. An allocator qualifies when its median ratio gains at least min_gain, its whole interval is
//      below 1, the gain exceeds the noise of A/A, and it doesn't cost more than max_cost of the
//      other resource (memory for cpu and tail, CPU for rss) by the median.
//   4. Among those within the best one's interval, the smallest in the other resource: switch.
//   5. None qualifies: keep when a gain of min_gain lies outside every other's interval and noise,
//      those that cost too much apart; else inconclusive.
// Measured on the program itself where that was done; from the replay alone only when it was
// faithful.
#pragma once

#include <string>

#include "analysis/document.h"

namespace carrel::tools {

inline constexpr int kExitKeep = 0;
inline constexpr int kExitSwitch = 10;
inline constexpr int kExitInconclusive = 20;

enum class Goal { kCpu, kRss, kTail };

struct VerdictOptions {
  Goal goal = Goal::kCpu;
  double min_gain = 0.03;
  double max_cost = 0.25;
  bool hardened = false;
};

// The section `verdict`. Throws UserError when the document holds nothing to decide from.
Json decide(const Json& document, const VerdictOptions& options);

// The verdict with its evidence, as text for a terminal.
std::string verdict_text(const Json& verdict);

}  // namespace carrel::tools
