// What carrel top shows: a heap's counters, and how fast they changed, as text and as JSON.
#pragma once

#include <optional>
#include <string>

#include "live/counters.h"

namespace carrel::tools {

// What was seen at one moment.
struct Look {
  HeapCounters counters;
  double at_s = 0;  // by a clock that never goes back
};

// A frame of text, lines ended, none longer than 80 columns. `before` gives the rates.
std::string live_table(const LiveHeap& heap, const Look& now, const std::optional<Look>& before,
                       std::size_t most_classes);

// One JSON object: the process, `totals` and so on as in counters_json, and `rates` (per second)
// when there was a look before.
Json live_json(const LiveHeap& heap, const Look& now, const std::optional<Look>& before);

}  // namespace carrel::tools
