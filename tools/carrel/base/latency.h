// The classes that latencies are counted in, eight a doubling. Shared by the gauge and the player,
// which run inside other programs or without a C++ runtime: nothing here needs a library.
#pragma once

#include <cstddef>
#include <cstdint>

namespace carrel::tools {

inline constexpr std::size_t kLatencySubclasses = 8;
inline constexpr std::size_t kLatencyClasses = 41 * kLatencySubclasses;  // to 2^43 ns, 2.4 hours

constexpr std::size_t latency_class(std::uint64_t ns) {
  if (ns < kLatencySubclasses) return ns;
  const auto top = static_cast<std::size_t>(63 - __builtin_clzll(ns));
  const std::size_t index =
      (top - 2) * kLatencySubclasses + ((ns >> (top - 3)) & (kLatencySubclasses - 1));
  return index < kLatencyClasses ? index : kLatencyClasses - 1;
}

// The lowest latency of a class.
constexpr std::uint64_t latency_floor(std::size_t index) {
  if (index < kLatencySubclasses) return index;
  const std::size_t top = index / kLatencySubclasses + 2;
  return (std::uint64_t{1} << top) |
         (static_cast<std::uint64_t>(index % kLatencySubclasses) << (top - 3));
}

}  // namespace carrel::tools
