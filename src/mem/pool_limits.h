// How much of the heap may be resident: the limits that a process has set itself, and whether
// memory is short for the whole system, when any use is beyond the soft limit. In granules.
//
// Set by anyone at any time; only compared, so that relaxed loads suffice. What is compared with
// them, and when, is the span pool's business.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "mem/span.h"

namespace carrel::core {

class PoolLimits {
 public:
  /// In bytes; SIZE_MAX for none.
  void set(std::size_t soft, std::size_t hard) {
    soft_.store(soft >> kGranuleShift, std::memory_order_relaxed);
    hard_.store(hard >> kGranuleShift, std::memory_order_relaxed);
  }

  void set_short(bool memory_is_short) { short_.store(memory_is_short, std::memory_order_relaxed); }
  bool is_short() const { return short_.load(std::memory_order_relaxed); }

  bool has_soft() const { return soft_.load(std::memory_order_relaxed) != kNone || is_short(); }
  bool has_hard() const { return hard_.load(std::memory_order_relaxed) != kNone; }
  bool over_soft(std::size_t used) const {
    return used > soft_.load(std::memory_order_relaxed) || is_short();
  }

  /// Whether the hard limit leaves room for `more` beside what is used.
  bool leaves_room(std::size_t used, std::size_t more) const {
    const std::size_t limit = hard_.load(std::memory_order_relaxed);
    return used <= limit && more <= limit - used;
  }

 private:
  static constexpr std::size_t kNone = SIZE_MAX >> kGranuleShift;
  std::atomic<std::size_t> soft_{kNone};
  std::atomic<std::size_t> hard_{kNone};
  std::atomic<bool> short_{false};
};

}  // namespace carrel::core
