// The process's one heap, and what ties it to threads: the only global state of carrel.
//
// The thread pointer and three flags are initial-exec thread-local storage, small enough to fit
// also when the library is loaded late, and never allocated lazily; a build for libraries that are
// only ever loaded late may choose another model (CARREL_TLS_MODEL). It starts at the
// empty cache and ends there: thread_exited() is the destructor of a pthread key, not a
// C++ one, which static and musl programs could not run.
#pragma once

#include <preset.h>

#include "heap/hardened_heap.h"
#include "os/linux/linux_os.h"

namespace carrel::core {

/// The one place that names the operating system; everything else of src/api says ProcessOs.
using ProcessOs = LinuxOs;

struct ProcessTls;
using ProcessHeap = Heap<kPreset, ProcessOs, ProcessTls>;

struct ProcessTls {
  static ProcessHeap& heap();
  static ThreadCache* cache() { return current_; }
  static void set_cache(ThreadCache* cache);
  static void use_cache(ThreadCache* cache) { current_ = cache; }
  static bool may_attach();
  static void before_ready();
  static void after_ready(const Options& options);
  static void read_options(Options& options);
  static void purger_entry();
  /// A request fails: see api/shortage.h.
  static bool try_again(std::size_t size, std::size_t alignment, std::uint32_t attempt);
  static void memory_fault(const MemoryFault& fault);

  [[gnu::tls_model(CARREL_TLS_MODEL)]] static inline constinit thread_local ThreadCache* current_ =
      &empty_cache;
  /// After the thread's destructor has run, it is served without a cache.
  [[gnu::tls_model(CARREL_TLS_MODEL)]] static inline constinit thread_local bool exited_ = false;
  /// It is in a shortage handler: see api/shortage.h.
  [[gnu::tls_model(
      CARREL_TLS_MODEL)]] static inline constinit thread_local bool handling_shortage_ = false;
  /// It is in a sample hook: see heap/profiler.h.
  [[gnu::tls_model(CARREL_TLS_MODEL)]] static inline constinit thread_local bool in_sample_hook_ =
      false;
};

extern template class Heap<kPreset, ProcessOs, ProcessTls>;

/// Usable from the first instruction of the process on: its constructor is constant.
[[gnu::visibility("hidden")]] extern constinit ProcessHeap process_heap;

/// Once, when the heap is ready: under a tool that watches the C library's functions, carrel's own
/// call those (api/aside.cc).
void step_aside_if_checked();

inline ProcessHeap& ProcessTls::heap() { return process_heap; }

}  // namespace carrel::core
