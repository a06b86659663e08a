// What is decided when carrel is compiled: one value of type Config per shipped build.
//
// Features do not become preprocessor symbols; code asks `if constexpr (C.field)`. What a
// process may choose at its start is a run-time option instead (heap/options.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bits.h"
#include "config/hardening.h"

namespace carrel::core {

struct Config {
  /// Address space kept for the heap where nothing limits it; halved until it fits.
  std::size_t window_bytes = 1024 * kGiB;

  /// Memory a thread may keep cached per size class; run-time option cache_kib.
  std::size_t cache_bytes_per_class = 32 * kKiB;

  /// Blocks a thread may keep cached per size class, whatever their size.
  std::uint32_t cache_max_slots = 512;

  /// Blocks that a thread may always cache, however large they are.
  std::uint32_t cache_min_slots = 8;

  /// Age in milliseconds at which free memory goes back to the system; option decay_ms.
  std::uint32_t decay_ms = 500;

  /// Size of the heap from which on new memory is backed by huge pages of 2 MiB, so that
  /// one that is not filled weighs little; option huge_pages.
  std::size_t huge_start_bytes = 16 * kMiB;

  /// Free memory that is worth starting the purge thread for.
  std::size_t purge_start_bytes = 2 * kMiB;

  /// One of so many small blocks is placed between guard pages, on average; option guard_sample.
  /// 0: none.
  std::uint32_t guard_sample = 0;

  /// Most shards a process uses; it takes one per CPU up to this. Option shards.
  std::uint32_t max_shards = 64;

  /// What is checked and hidden beyond what the design gives for free.
  Hardening hardening = {};
};

/// Not constexpr: reaching it while compiling is the error, and shows the text.
void contradiction(const char* rule);

/// Names the contradiction in a configuration at compile time.
consteval bool validate(const Config& config) {
  if (!is_power_of_two(config.window_bytes)) contradiction("window_bytes is a power of two");
  if (config.cache_min_slots == 0) contradiction("a cache holds at least one block");
  if (config.cache_min_slots > config.cache_max_slots) contradiction("cache minimum > maximum");
  if (config.max_shards == 0) contradiction("at least one shard");
  const Hardening& hard = config.hardening;
  const bool needs_records = hard.check_sizes || hard.canary_bytes != 0 || hard.zero_freed ||
                             hard.quarantine_bytes != 0 || hard.fenced_large != 0;
  if (needs_records && !hard.check_frees) contradiction("this hardening needs check_frees");
  if (hard.canary_bytes != 0 && hard.canary_bytes != 8) contradiction("a canary has 8 bytes");
  if (hard.verify_bytes != 0 && !hard.zero_freed) contradiction("verify_bytes needs zero_freed");
  if (hard.canary_bytes != 0 && !hard.zero_freed) contradiction("canary_bytes needs zero_freed");
  if (hard.verify_bytes != 0 && hard.verify_bytes != 128) contradiction("verify_bytes is 128");
  if (hard.fenced_large != 0 && !hard.guard_large) contradiction("fenced_large needs guard_large");
  if (hard.guarded_slots % 32 != 0) contradiction("guarded_slots is a multiple of 32");
  if (hard.guarded_slots != 0 && hard.quarantine_bytes == 0) {
    contradiction("guarded_slots needs quarantine_bytes");  // samples are counted where blocks wait
  }
  if (config.guard_sample != 0 && hard.guarded_slots == 0) {
    contradiction("guard_sample needs guarded_slots");
  }
  if (hard.random_base_steps != 0 && !is_power_of_two(hard.random_base_steps)) {
    contradiction("random_base_steps is a power of two");
  }
  return true;
}

/// The build that libcarrel.so ships.
inline constexpr Config kDefault{};
static_assert(validate(kDefault));

/// The build that libcarrel-secure.so ships.
inline constexpr Config kSecure{
    .guard_sample = 5000,
    .hardening = {.check_frees = true,
                  .check_sizes = true,
                  .canary_bytes = 8,
                  .zero_freed = true,
                  .verify_bytes = 128,
                  .random_slots = true,
                  .quarantine_bytes = 4 * kKiB,
                  .isolate_classes = true,
                  .random_base_steps = 1u << 15,
                  .guard_metadata = true,
                  .guard_large = true,
                  .fenced_large = 32,
                  .guarded_slots = 128},
};
static_assert(validate(kSecure));

}  // namespace carrel::core
