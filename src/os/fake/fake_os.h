// An operating system for unit tests: it keeps the contract of os/os.h, watches that its
// callers keep their side of it, and fails, refuses or waits as a test tells it to.
//
// Basic design: memory is real, so that code can touch it, and what was not committed
// really faults; a ledger says of every page whether it is reserved or usable. Each call
// is counted and its range recorded. A call that breaks a precondition is noted in
// violations(), which every test compares with "". Time stands still unless a test
// advances it or something sleeps with a limit: that passes the time at once.
//
// Thread-safe, apart from `settings` and reset(), which a test calls while nothing else
// runs. Never part of a library: only unit tests compile fake_os.cc.
#pragma once

#include "os/os.h"

namespace carrel::core {

enum class OsCall : std::uint8_t {
  kReserve,
  kCommit,
  kMap,
  kUnmap,
  kPurge,
  kPopulate,
  kMovePages,
  kFreshPages,
  kAdviseHuge,
  kAdviseSmall,  // advise_huge() with wanted = false
  kCollapse,
  kFence,
  kUnfence,
  kWatchFaults,
  kStartThread,
  kWait,
  kCallCount,
};

/// Calls that a real system may refuse; the ones that fail_call() counts.
constexpr bool is_fallible(OsCall call) {
  return call != OsCall::kUnmap && call != OsCall::kPopulate && call != OsCall::kAdviseHuge &&
         call != OsCall::kAdviseSmall && call != OsCall::kWait;
}

struct OsRange {
  std::uintptr_t start = 0;
  std::size_t bytes = 0;
};

/// What abort() throws.
struct FakeOsAbort {};

/// How the simulated system behaves; reset() restores what stands here.
struct FakeOsSettings {
  std::size_t page_bytes = 4096;  // a multiple of the real page size
  std::uint32_t cpu_count = 2;

  /// As set by `ulimit -v`: what would exceed it, reserved or mapped, is refused.
  std::size_t address_space_limit = SIZE_MAX;

  /// Address space that is small without saying so: larger reservations are refused.
  std::size_t max_reservation_bytes = SIZE_MAX;

  /// Overcommit switched off: usable memory beyond this is refused.
  std::size_t commit_budget_bytes = SIZE_MAX;

  bool refuse_commit = false;  // reservations stay what they are
  bool ignore_hints = false;   // map() never gives the place that was asked for
  void* map_place = nullptr;   // where map() puts what has no hint, if that is free
  bool refuse_purge = false;   // as for locked memory
  void (*during_purge)() = nullptr;
  bool refuse_move_pages = false;  // as before Linux 5.7
  bool refuse_fresh_pages = false;
  bool refuse_fences = false;
  bool refuse_watch = false;  // the program has a handler of its own
  bool memory_is_short = false;
  bool refuse_threads = false;
  bool has_huge_pages = false;  // collapse_dense() works, with huge pages of 2 MiB

  /// Runs helper threads at once, as threads; otherwise they wait for run_thread().
  bool real_threads = false;

  /// Called before each call of the kinds in OsCall is carried out, with its range if it
  /// has one; may call back into the code under test.
  void (*before_call)(OsCall call, void* p, std::size_t bytes) = nullptr;
};

struct FakeOs {
  // The contract of os/os.h.
  static std::size_t page_bytes();
  static std::uint32_t cpu_count();
  static std::size_t address_space_limit();
  static std::uint64_t now_ms();
  static void* reserve(std::size_t bytes, std::size_t align);
  static bool commit(void* p, std::size_t bytes);
  static void* map(void* hint, std::size_t bytes);
  static void unmap(void* p, std::size_t bytes);
  static bool purge(void* p, std::size_t bytes);
  static void populate(void* p, std::size_t bytes);
  static bool move_pages(void* from, void* to, std::size_t bytes);
  static bool fresh_pages(void* p, std::size_t bytes);
  static void advise_huge(void* p, std::size_t bytes, bool wanted);
  static bool collapse_dense(void* p, std::size_t bytes);
  static bool fence(void* p, std::size_t bytes);
  static bool unfence(void* p, std::size_t bytes);
  static bool watch_faults(void (*explain)(const MemoryFault& fault));
  static bool memory_is_short() { return settings.memory_is_short; }
  static const char* alone_flag();
  static std::uint64_t random_word();
  static void wait(std::atomic<std::uint32_t>& word, std::uint32_t expected,
                   std::uint32_t timeout_ms);
  static void wake(std::atomic<std::uint32_t>& word, std::uint32_t count);
  static void yield();
  static bool start_thread(void (*entry)());
  static void forget_thread();
  static std::size_t environment(const char* name, char* buffer, std::size_t capacity);
  static void write_stderr(const char* text, std::size_t size);
  [[noreturn]] static void abort();

  // What tests do to it.

  static inline FakeOsSettings settings;

  /// Gives all memory back and forgets everything, settings included.
  static void reset();

  static void advance_ms(std::uint64_t ms);

  /// Refuses the nth fallible call from now on, counted from 1, and, if `all_after`, every
  /// later one too; 0 refuses none any more.
  static void fail_call(std::uint64_t nth, bool all_after = false);

  /// The variable that environment() knows; null forgets it. The text is not copied.
  static void set_environment(const char* name, const char* value);

  /// What the program's touching memory that it cannot touch would lead to: true if somebody was
  /// there to explain it.
  static bool fault(const MemoryFault& fault);

  /// Runs the helper thread's entry on this thread, if one was started and has not run.
  static bool run_thread();

  // What tests ask it.

  static std::uint64_t calls(OsCall call);
  /// The range of a call, successful or not, counted from 0: of move_pages the source.
  static OsRange range_of(OsCall call, std::uint64_t index);
  static std::uint64_t fallible_calls();  // since reset()
  static std::uint64_t failures();        // by fail_call() or settings, since reset()
  static bool failing();                  // fail_call() is still to refuse a call

  static std::size_t address_space_bytes();  // reserved or mapped now
  static std::size_t usable_bytes();         // of these: committed or mapped
  static bool is_usable(const void* p, std::size_t bytes);

  /// Bytes of a usable range that occupy memory now, in real pages.
  static std::size_t resident_bytes(const void* p, std::size_t bytes);

  static const char* stderr_text();
  static void clear_stderr();

  /// One line for each breach of the contract; "" if there was none.
  static const char* violations();
  static void clear_violations();
};
static_assert(OsLayer<FakeOs>);

}  // namespace carrel::core
