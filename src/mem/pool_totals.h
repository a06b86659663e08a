// What the span pool counts, for statistics and for those who decide by it. No behaviour.
#pragma once

#include <cstddef>
#include <cstdint>

namespace carrel::core {

/// Totals in granules; read without a lock, each exact at some moment.
struct PoolTotals {
  std::size_t added = 0;    // in the heap at all
  std::size_t free = 0;     // in the pool
  std::size_t touched = 0;  // in the pool and perhaps resident
  std::size_t purged = 0;   // given back so far, cumulative
};

/// How often the pool did what, since the start.
struct PoolEvents {
  std::uint64_t allocated = 0;   // spans handed out, for slabs and large blocks
  std::uint64_t extensions = 0;  // memory added to the heap
  std::uint64_t purges = 0;      // runs given back to the system
  std::uint32_t contended = 0;   // spans that had to wait for the lock
};

}  // namespace carrel::core
