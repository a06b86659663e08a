// What the gauge counts, in a file that carrel maps before it starts the program and the gauge maps
// in each of its processes: killed programs leave their counts too. Shared by gauge.cc, which needs
// no C++ runtime, and advise/measure.cc.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace carrel::tools::gauge {

inline constexpr const char* kEnvironment = "CARREL_GAUGE";  // path of the file
inline constexpr std::uint64_t kMagic = 0x6567756167'0001;

// Latencies: eight classes a doubling, from 1 ns to 2^40 ns.
inline constexpr std::size_t kSubclasses = 8;
inline constexpr std::size_t kLatencyClasses = 41 * kSubclasses;

constexpr std::size_t latency_class(std::uint64_t ns) {
  if (ns < kSubclasses) return ns;
  const auto top = static_cast<std::size_t>(63 - __builtin_clzll(ns));
  const std::size_t index = (top - 2) * kSubclasses + ((ns >> (top - 3)) & (kSubclasses - 1));
  return index < kLatencyClasses ? index : kLatencyClasses - 1;
}

// The lowest latency of a class.
constexpr std::uint64_t latency_floor(std::size_t index) {
  if (index < kSubclasses) return index;
  const std::size_t top = index / kSubclasses + 2;
  return (std::uint64_t{1} << top) | (static_cast<std::uint64_t>(index % kSubclasses) << (top - 3));
}

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
  std::atomic<std::uint64_t> allocation_ns[kLatencyClasses];  // timed calls by latency
  std::atomic<std::uint64_t> free_ns[kLatencyClasses];
};

}  // namespace carrel::tools::gauge
