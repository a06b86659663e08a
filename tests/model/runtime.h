// Runs a scenario's threads as fibers of one real thread, and decides at every atomic access, lock
// and call to the system which of them goes on.
//
// The code under test is compiled as for ThreadSanitizer; the functions that the compiler inserts
// for each access are entry_points.cc's instead of ThreadSanitizer's, and lead here. So what runs
// is the code that ships, on a memory that behaves as C++ allows (memory.h) and with every
// interleaving in turn (explorer.h).
//
// A thread is only stopped before it touches an atomic object that two threads use and one writes:
// stopping elsewhere makes no difference, as long as there are no races, which are looked for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "explorer.h"
#include "memory.h"

namespace model {

/// A small program. setup() and check() run alone, before and after the threads.
struct Scenario {
  const char* name;
  const char* about;
  int threads;  // that run from the start
  void (*setup)();
  void (*body[kMaxThreads])();  // of each; further ones are for start_thread()
  void (*check)();
  /// What bounds the smoke run explores completely, found by trying.
  Bounds smoke;
  /// The program is wrong, as one that frees twice: it may race, but must be told.
  bool misuse = false;
};

struct Outcome {
  std::uint64_t executions = 0;
  bool complete = false;  // every execution within the bounds was run
  std::string failure;    // empty: none
  std::string choices;    // that led to it, for telling executions apart
};

/// Runs every execution within the bounds, or as many as the seconds of processor time allow.
Outcome explore(const Scenario& scenario, Bounds bounds, double seconds);
/// Runs the execution that failed last once more and prints each of its steps.
void trace_last();

// For scenarios.

/// The number of the running thread; 0 in setup() and check().
int thread_number();
/// Ends the execution as failed.
[[noreturn]] void fail(const std::string& text);
inline void require(bool holds, const char* text) {
  if (!holds) fail(text);
}
/// In setup(): threads run one after the other, without choices, until choose_from_now().
void choose_later();
void choose_from_now();

// For the simulated system.

void wait_on(std::uintptr_t word, std::uint32_t expected);
void wake(std::uintptr_t word, std::uint32_t count);
/// Lets others go first; goes on when none can, or at any moment.
void sleep();
void yield();
/// Makes the scenario's thread that was not running yet run `entry`; false if it is running.
bool start_thread(void (*entry)());
/// A call to the system that other threads may meet: a place to stop.
void system_call();
void purge_range(void* start, std::size_t bytes);
void written_by_system(void* start, std::size_t bytes);

// For the functions that the compiler inserts. `pc` is where they were called.

void plain_access(std::uintptr_t address, std::size_t bytes, bool write, std::uintptr_t pc);
std::uint64_t atomic_load(std::uintptr_t address, unsigned bytes, int order, std::uintptr_t pc);
void atomic_store(std::uintptr_t address, unsigned bytes, std::uint64_t value, int order,
                  std::uintptr_t pc);
using Update = std::uint64_t (*)(std::uint64_t old_value, std::uint64_t operand);
std::uint64_t atomic_update(std::uintptr_t address, unsigned bytes, Update update,
                            std::uint64_t operand, int order, std::uintptr_t pc);
bool atomic_compare_exchange(std::uintptr_t address, unsigned bytes, std::uint64_t& expected,
                             std::uint64_t desired, int order, int failure_order,
                             std::uintptr_t pc);
void atomic_fence(int order, std::uintptr_t pc);

// For finding out whether the checker would notice a weaker order: the places where one is asked
// for, and those where it is taken as relaxed.

struct Site {
  std::uintptr_t pc;
  const char* operation;
  int order;
};
std::vector<Site> sites_seen();
void weaken(std::uintptr_t pc);

}  // namespace model
