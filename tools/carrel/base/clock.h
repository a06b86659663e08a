// The steady clock in seconds.
#pragma once

#include <chrono>

namespace carrel::tools {

using SteadyTime = std::chrono::steady_clock::time_point;

inline double seconds_since(SteadyTime start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Since some moment that stays the same for as long as the process runs.
inline double seconds_now() { return seconds_since(SteadyTime{}); }

}  // namespace carrel::tools
