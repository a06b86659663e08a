// The heap profile of the process, for the rest of src/api; the functions for programs are in
// include/carrel/carrel.h.
#pragma once

#include <cstdint>

#include "api/instance.h"
#include "heap/arena.h"
#include "heap/options.h"

namespace carrel::core {

template <OsLayer Os>
class Profiler;
/// Made when a profile is first started, and there for good.
[[gnu::visibility("hidden")]] extern constinit std::atomic<Profiler<ProcessHeap::Os>*> the_profiler;

/// A profile in numbers, all zero if none was ever started; sizes in bytes, estimates.
struct ProfileNumbers {
  std::uint64_t active = 0;
  std::uint64_t interval_bytes = 0;
  std::uint64_t samples = 0;  // live ones
  std::uint64_t stacks = 0;
  std::uint64_t live_bytes = 0;
  std::uint64_t peak_bytes = 0;
  std::uint64_t hooks = 0;  // of the program, that hear of samples
};

/// The profiler, made if need be, sampling for nobody then; null when memory is exhausted.
Profiler<ProcessHeap::Os>* make_profiler();

void read_profile(ProfileNumbers& numbers);

/// The file that a profile was last written to under a name of carrel's own, terminated; empty if
/// there is none. False, with an empty text, if it does not fit.
bool last_profile_file(char* buffer, std::size_t capacity);

/// What the options profile=1 and profile_at_exit=1 ask for, at the start and at the exit of the
/// program.
void start_profile_by_option(const Options& options);
void write_profile_at_exit();

/// Small sampled blocks, which are in no shard's slab; zero if there never was one.
void add_sampled_blocks(ArenaTotals& totals);

}  // namespace carrel::core
