// What the span pool's purge works on: how long a granule has been free, and a batch of runs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "mem/span.h"

namespace carrel::core {

/// Ticks from `freed` to `now`. Ticks run through 1 to 255 and around; 0 is never.
inline int ticks_between(std::uint8_t freed, std::uint8_t now) {
  return now >= freed ? now - freed : now + 255 - freed;
}

/// Runs of stale granules that are out of the pool while the system takes their pages: many, so
/// that the pool is searched seldom, but little memory, since nobody can have it meanwhile.
struct StaleBatch {
  static constexpr std::size_t kMostSpans = 64;
  static constexpr std::size_t kMostBytes = 32 * kMiB;

  Span* spans[kMostSpans];
  std::size_t size = 0;
  std::size_t granules = 0;

  void add(Span* span) {
    spans[size++] = span;
    granules += span->count;
  }
  bool full() const { return size == kMostSpans || granules << kGranuleShift >= kMostBytes; }
};

}  // namespace carrel::core
