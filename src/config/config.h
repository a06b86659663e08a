// What is decided when carrel is compiled: one value of type Config per shipped build.
//
// Features do not become preprocessor symbols; code asks `if constexpr (C.field)`. What a
// process may choose at its start is a run-time option instead (heap/options.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bits.h"

namespace carrel::core {

struct Config {
  /// Address space kept for the heap where nothing limits it; halved until it fits.
  std::size_t window_bytes = 1024 * kGiB;

  /// Memory a thread may keep cached per size class; run-time option cache_kib.
  std::size_t cache_bytes_per_class = 32 * kKiB;

  /// Blocks a thread may keep cached per size class, whatever their size.
  std::uint32_t cache_max_slots = 512;

  /// Blocks that a thread may always cache, however large they are.
  std::uint32_t cache_min_slots = 2;

  /// Age in milliseconds at which free memory goes back to the system; option decay_ms.
  std::uint32_t decay_ms = 500;

  /// Size of the heap from which on new memory is backed by huge pages of 2 MiB, so that
  /// one that is not filled weighs little; option huge_pages.
  std::size_t huge_start_bytes = 16 * kMiB;

  /// Free memory that is worth starting the purge thread for.
  std::size_t purge_start_bytes = 2 * kMiB;

  /// Most shards a process uses; it takes one per CPU up to this. Option shards.
  std::uint32_t max_shards = 64;
};

/// Not constexpr: reaching it while compiling is the error, and shows the text.
void contradiction(const char* rule);

/// Names the contradiction in a configuration at compile time.
consteval bool validate(const Config& config) {
  if (!is_power_of_two(config.window_bytes)) contradiction("window_bytes is a power of two");
  if (config.cache_min_slots == 0) contradiction("a cache holds at least one block");
  if (config.cache_min_slots > config.cache_max_slots) contradiction("cache minimum > maximum");
  if (config.max_shards == 0) contradiction("at least one shard");
  return true;
}

/// The build that libcarrel.so ships.
inline constexpr Config kDefault{};
static_assert(validate(kDefault));

}  // namespace carrel::core
