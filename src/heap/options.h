// Run-time options: one table that makes the parser, the documentation and the messages.
//
// Sources, later ones winning: the defaults of Config, the program's `carrel_options`
// symbol, the environment variable CARREL_OPTIONS, carrel_set_option(). A mistake is
// reported once, with the nearest valid key, and ignored.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/text.h"
#include "config/config.h"

namespace carrel::core {

struct Options {
  std::uint32_t decay_ms = 0;
  std::uint32_t purge_thread = 1;
  std::uint32_t cache_kib = 0;
  std::uint32_t shards = 0;
  std::uint32_t huge_pages = 1;
  std::uint32_t soft_limit_mib = 0;
  std::uint32_t limit_mib = 0;
  std::uint32_t watch_memory = 1;
  std::uint32_t profile = 0;
  std::uint32_t profile_interval_kib = 512;
  std::uint32_t profile_at_exit = 0;
  std::uint32_t profile_signal = 0;
  std::uint32_t guard_sample = 0;
  std::uint32_t explain_faults = 1;
  std::uint32_t report_stacks = 0;
  std::uint32_t control = 0;
  std::uint32_t stats_at_exit = 0;
  std::uint32_t verbose = 0;
};

struct OptionSpec {
  const char* key;
  std::uint32_t Options::*field;
  std::uint32_t minimum;
  std::uint32_t maximum;
  bool changeable;  // also while the program runs
  const char* meaning;
  const char* const* words = nullptr;  // values by name: from `minimum` to `maximum`
};

inline constexpr const char* kHugePagesWords[] = {"never", "auto"};
inline constexpr const char* kReportStacksWords[] = {"none", "stderr", "file"};

inline constexpr OptionSpec kOptionTable[] = {
    {"decay_ms", &Options::decay_ms, 0, 20'000, true,
     "milliseconds after which free memory goes back to the system; 0: at the next "
     "opportunity"},
    {"purge_thread", &Options::purge_thread, 0, 1, true,
     "1: a helper thread gives memory back also when the program is idle; 0: only calls to "
     "the allocator do"},
    {"cache_kib", &Options::cache_kib, 0, 1'024, false,
     "KiB a thread may keep cached per size class (at least 8 blocks)"},
    {"shards", &Options::shards, 1, 64, false,
     "sets of slabs that threads are dealt to; by default one per CPU"},
    {"huge_pages", &Options::huge_pages, 0, 1, false,
     "auto: back a heap beyond 16 MiB, and the full parts of one beyond 4 MiB, by huge pages "
     "where the system has them on request; never: do not ask for them",
     kHugePagesWords},
    {"soft_limit_mib", &Options::soft_limit_mib, 0, 16'777'216, true,
     "MiB that may be resident before free memory goes back at once and caches shrink; 0: no "
     "limit"},
    {"limit_mib", &Options::limit_mib, 0, 16'777'216, true,
     "MiB that may be resident at all: beyond them allocations fail; 0: no limit"},
    {"watch_memory", &Options::watch_memory, 0, 1, true,
     "1: where the process's control group or the machine is short of memory, free memory goes "
     "back at once and caches shrink; 0: do not look"},
    {"profile", &Options::profile, 0, 1, false,
     "1: sample allocations for a heap profile from the program's start on"},
    {"profile_interval_kib", &Options::profile_interval_kib, 1, 1'048'576, true,
     "KiB that are allocated between two samples, on average, in a profile that starts later"},
    {"profile_at_exit", &Options::profile_at_exit, 0, 1, true,
     "1: write the heap profile to a file when the program exits, and say what was live"},
    {"profile_signal", &Options::profile_signal, 0, 64, false,
     "number of a signal that writes the heap profile to a file, with profile=1; 0: none"},
    {"guard_sample", &Options::guard_sample, 0, 100'000'000, false,
     "hardened build: one of so many blocks up to 32 KiB lies between guard pages, on average; 0: "
     "none"},
    {"explain_faults", &Options::explain_faults, 0, 1, false,
     "hardened build: 1: a memory fault at a guard page is reported, unless the program handles "
     "SIGSEGV itself; 0: no handler is installed"},
    {"report_stacks", &Options::report_stacks, 0, 2, false,
     "where the stacks of an error report go, beside its line; file: CARREL_REPORT_PREFIX "
     "(carrel), the process number, .report",
     kReportStacksWords},
    {"control", &Options::control, 0, 1, false,
     "1: a thread of carrel's lets carrel ctl PID, by the same user or root, read, set and run "
     "controls, heap profiles among them"},
    {"stats_at_exit", &Options::stats_at_exit, 0, 1, true,
     "1: print malloc_stats() when the program exits"},
    {"verbose", &Options::verbose, 0, 1, false,
     "1: print the version and the options in force when the heap is set up"},
};

enum class OptionError { kNone, kUnknownKey, kBadValue, kFixed };

/// What the key is called in the table, or null.
inline const OptionSpec* find_option(TextView key) {
  for (const OptionSpec& spec : kOptionTable) {
    if (key == TextView(spec.key)) return &spec;
  }
  return nullptr;
}

/// Sets one option; `running` refuses those that are read only at start.
OptionError set_option(Options& options, TextView key, TextView value, bool running);

/// Reads "key=value,key=value"; calls `complain(key, value, error)` for each mistake.
void parse_options(Options& options, TextView text,
                   void (*complain)(TextView key, TextView value, OptionError error));

/// The valid value nearest to a bad one: the word spelled most like it, or its leading
/// digits forced into the option's range.
std::uint32_t nearest_value(const OptionSpec& spec, TextView value);

/// Reads a value of this option; false if it is none.
bool parse_value(const OptionSpec& spec, TextView text, std::uint32_t& value);

/// Levenshtein's edit distance between short strings.
std::size_t edit_distance(TextView a, TextView b);

/// The valid key that is spelled most like this one.
const OptionSpec& nearest_option(TextView key);

}  // namespace carrel::core
