// The operating system that the checker simulates: memory from the arena, sleeping and waking by
// the scheduler, a clock that moves when a thread sleeps. Satisfies the contract of os/os.h.
//
// Refuses no memory; huge pages and fences it does not have. abort() throws ModelAbort.
#pragma once

#include <stdexcept>

#include "os/os.h"
#include "runtime.h"

namespace carrel::core {

/// What carrel said before it ended the process.
struct ModelAbort : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct ModelOs {
  static std::size_t page_bytes() { return 4096; }
  static std::uint32_t cpu_count() { return 2; }
  static std::size_t address_space_limit() { return SIZE_MAX; }
  static std::uint64_t now_ms();
  static void* reserve(std::size_t bytes, std::size_t align);
  static bool commit(void*, std::size_t) { return true; }
  static void* map(void*, std::size_t bytes) { return reserve(bytes, page_bytes()); }
  static void unmap(void*, std::size_t) {}
  static bool purge(void* p, std::size_t bytes);
  static void populate(void*, std::size_t) {}
  static bool move_pages(void*, void*, std::size_t) { return false; }
  static bool fresh_pages(void* p, std::size_t bytes) { return purge(p, bytes); }
  static void advise_huge(void*, std::size_t, bool) {}
  static bool collapse_dense(void*, std::size_t) { return false; }
  static bool fence(void*, std::size_t) { return false; }
  static bool unfence(void*, std::size_t) { return false; }
  static bool watch_faults(void (*)(const MemoryFault&)) { return false; }
  static std::size_t resident_bytes(const void*, std::size_t) { return 0; }
  static bool memory_is_short() { return false; }
  static const char* alone_flag() {
    static constexpr char kNeverAlone = 0;
    return &kNeverAlone;
  }
  static std::uint64_t random_word();
  static void wait(std::atomic<std::uint32_t>& word, std::uint32_t expected,
                   std::uint32_t timeout_ms);
  static void wake(std::atomic<std::uint32_t>& word, std::uint32_t count);
  static void yield() { model::yield(); }
  static bool start_thread(void (*entry)());
  static void forget_thread() {}
  static std::size_t environment(const char*, char*, std::size_t) { return 0; }
  static void write_stderr(const char* text, std::size_t size);
  [[noreturn]] static void abort();

  // For scenarios.

  /// A fresh system: the first `kept_bytes` of the arena are the scenario's.
  static void reset(std::size_t kept_bytes);
  static void advance_ms(std::uint64_t ms);
  /// From the `count`th timed wait on the scheduler has choices.
  static void choose_from_wait(int count);
  static int threads_started();
};

}  // namespace carrel::core
