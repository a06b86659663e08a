// Requests that cannot be served: who is asked before they fail, and how often that was so. What is
// promised is in include/carrel/carrel.h.
#pragma once

#include <carrel/carrel.h>

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

struct ShortageCounts {
  std::uint64_t refusals;
  std::uint64_t retries;
};
ShortageCounts shortage_counts();

}  // namespace carrel::core
