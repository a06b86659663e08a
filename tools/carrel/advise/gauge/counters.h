// What the gauge counts, in a file that carrel maps before it starts the program and the gauge maps
// in each of its processes: killed programs leave their counts too. Shared by gauge.cc, which needs
// no C++ runtime, and advise/measure.cc.
#pragma once

#include <atomic>
#include <cstdint>

#include "advise/gauge/call_log.h"
#include "base/latency.h"

namespace carrel::tools::gauge {

inline constexpr const char* kEnvironment = "CARREL_GAUGE";  // path of the file
inline constexpr std::uint64_t kMagic = 0x6567756167'0002;

struct Counters {
  std::uint64_t magic;
  std::uint64_t period_ns;  // CPU time between a thread's samples, set by carrel
  std::atomic<std::uint64_t> processes;
  std::atomic<std::uint64_t> threads;
  std::atomic<std::uint64_t> threads_without_timer;
  std::atomic<std::uint64_t> signals;  // samples delivered, and those in the allocator
  std::atomic<std::uint64_t> signals_inside;
  std::atomic<std::uint64_t> periods;  // the same, weighted by the periods each stands for
  std::atomic<std::uint64_t> periods_inside;
  std::atomic<std::uint64_t> calls;    // to the allocator
  std::atomic<std::uint64_t> timed;    // of them
  std::atomic<std::uint64_t> time_ns;  // of all calls, from the timed ones; the clock's own cost
                                       // and whatever interrupted a call for long taken off
  // Some of the timed calls, where the process has more than one thread: how many were looked at,
  // in how many the thread slept, and how long all and those took by the clock.
  std::atomic<std::uint64_t> watched;
  std::atomic<std::uint64_t> slept;
  std::atomic<std::uint64_t> watched_ns;
  std::atomic<std::uint64_t> slept_ns;
  std::atomic<std::uint64_t> allocation_ns[kLatencyClasses];  // timed calls by latency
  std::atomic<std::uint64_t> free_ns[kLatencyClasses];
  std::uint64_t wants_stacks;                // set by carrel: 1 or 0
  std::atomic<std::uint64_t> stacks_cpu_ns;  // what writing stacks took
  CallLog log;
};

}  // namespace carrel::tools::gauge
