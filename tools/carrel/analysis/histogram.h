// The bounds of the size and lifetime classes that the analysis counts in, and which class a value
// falls into. The last size class has no bound; lifetimes have one more class, "never freed",
// which only the end of the trace can fill.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace carrel::tools {

// Inclusive, in bytes.
inline constexpr std::array<std::uint64_t, 25> kSizeBounds = {
    16,    32,     48,     64,         96,         128,        192,       256,   384,
    512,   768,    1024,   1536,       2048,       4096,       8192,      16384, 32768,
    65536, 131072, 262144, 1ULL << 20, 1ULL << 22, 1ULL << 24, 1ULL << 26};
inline constexpr std::size_t kSizeClasses = kSizeBounds.size() + 1;

// Exclusive, in nanoseconds: 1 us to 11 days; what lives longer counts as the last.
inline constexpr std::array<std::uint64_t, 13> kLifetimeBounds_ns = {1'000,
                                                                     10'000,
                                                                     100'000,
                                                                     1'000'000,
                                                                     10'000'000,
                                                                     100'000'000,
                                                                     1'000'000'000,
                                                                     10'000'000'000,
                                                                     100'000'000'000,
                                                                     1'000'000'000'000,
                                                                     10'000'000'000'000,
                                                                     100'000'000'000'000,
                                                                     1'000'000'000'000'000};
inline constexpr std::size_t kLifetimeClasses = kLifetimeBounds_ns.size() + 1;
inline constexpr std::size_t kNeverFreed = kLifetimeClasses - 1;

inline std::size_t size_class_of(std::uint64_t bytes) {
  return static_cast<std::size_t>(std::lower_bound(kSizeBounds.begin(), kSizeBounds.end(), bytes) -
                                  kSizeBounds.begin());
}

inline std::size_t lifetime_class_of(std::uint64_t ns) {
  const auto place = std::upper_bound(kLifetimeBounds_ns.begin(), kLifetimeBounds_ns.end(), ns);
  return std::min(static_cast<std::size_t>(place - kLifetimeBounds_ns.begin()), kNeverFreed - 1);
}

}  // namespace carrel::tools
