// Requests that cannot be served: who is asked before they fail, and how often that was so. What is
// promised is in include/carrel/carrel.h.
#pragma once

#include <carrel/carrel.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/compiler.h"

namespace carrel::core {

/// A request that failed, for the heap (`arena` is null) or an arena.
struct FailedRequest {
  std::size_t size;
  std::size_t alignment;
  carrel_arena* arena;
};

/// Asks the handler whether to try once more, outside of all locks; false if there is none. Keeps
/// errno. `attempt`: from 1 on. The heap asks by ProcessTls::try_again, where it has tried all.
CARREL_COLD bool should_try_again(const FailedRequest& request, std::uint32_t attempt);

/// Requests that failed, and that were tried again.
struct ShortageTotals {
  std::atomic<std::uint64_t> refusals{0};
  std::atomic<std::uint64_t> retries{0};
};
[[gnu::visibility("hidden")]] extern constinit ShortageTotals shortage_totals;

}  // namespace carrel::core
