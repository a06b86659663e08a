// A lock of four bytes over Os::wait and Os::wake: spins briefly, then sleeps.
//
// Usable before constructors have run (all zero is unlocked) and in a child after fork.
// Not recursive. Ranks, lowest first; a thread takes locks only in rising rank:
//   0 arena set, arenas by number, sample table   1 purging (see SpanPool)
//   2 thread registry, then guarded slots   3 slab bins (ordered by shard, then class)
//   4 span pool   5 metadata arena
#pragma once

#include <atomic>
#include <cstdint>

#include "base/compiler.h"
#include "os/os.h"

namespace carrel::core {

template <OsLayer Os>
class Mutex {
 public:
  void lock() {
    std::uint32_t expected = kFree;
    // Acquire pairs with the release in unlock(): what the last holder wrote is seen.
    if (CARREL_LIKELY(word_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire,
                                                    std::memory_order_relaxed))) {
      return;
    }
    lock_contended();
  }

  /// As lock(), and counts in `contended`, which this lock guards, when it had to wait.
  void lock_counting(std::uint32_t& contended) {
    if (CARREL_LIKELY(try_lock())) return;
    lock_contended();
    ++contended;
  }

  bool try_lock() {
    std::uint32_t expected = kFree;
    return word_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire,
                                         std::memory_order_relaxed);
  }

  void unlock() {
    // Release pairs with the acquire in lock(). The exchange tells in the same step
    // whether anyone sleeps, so that no wake-up is lost and none is sent for nothing.
    if (CARREL_UNLIKELY(word_.exchange(kFree, std::memory_order_release) == kContended)) {
      Os::wake(word_, 1);
    }
  }

  /// In a child after fork, where the holder may not exist any more.
  void reset_after_fork() { word_.store(kFree, std::memory_order_relaxed); }

 private:
  static constexpr std::uint32_t kFree = 0;
  static constexpr std::uint32_t kHeld = 1;
  static constexpr std::uint32_t kContended = 2;  // held, and someone may be asleep
  static constexpr int kSpins = 100;              // a few critical sections' worth of waiting

  CARREL_NOINLINE void lock_contended() {
    for (int spin = 0; spin < kSpins; ++spin) {
      if (word_.load(std::memory_order_relaxed) == kFree && try_lock()) return;
      pause();
    }
    // From here on the word is left at kContended, so that unlock() wakes the next one.
    while (word_.exchange(kContended, std::memory_order_acquire) != kFree) {
      Os::wait(word_, kContended, 0);
    }
  }

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#endif
  }

  std::atomic<std::uint32_t> word_{kFree};
};

/// Holds a lock for a scope.
template <class Lock>
class LockGuard {
 public:
  explicit LockGuard(Lock& lock) : lock_(lock) { lock_.lock(); }
  ~LockGuard() { lock_.unlock(); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Lock& lock_;
};

/// The same with a count of those that had to wait, which the lock guards.
template <class Lock>
class CountingLockGuard {
 public:
  CountingLockGuard(Lock& lock, std::uint32_t& contended) : lock_(lock) {
    lock_.lock_counting(contended);
  }
  ~CountingLockGuard() { lock_.unlock(); }
  CountingLockGuard(const CountingLockGuard&) = delete;
  CountingLockGuard& operator=(const CountingLockGuard&) = delete;

 private:
  Lock& lock_;
};

}  // namespace carrel::core
