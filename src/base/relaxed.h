// A plain value that other threads may look at while its owner writes it.
//
// Reads and writes are atomic and order nothing: a reader gets some recent value, and must
// look again under the owner's lock before acting on it.
#pragma once

#include <atomic>

namespace carrel::core {

template <class T>
class Relaxed {
 public:
  constexpr Relaxed(T value = T{}) : value_(value) {}  // NOLINT(google-explicit-constructor)
  Relaxed(const Relaxed&) = delete;

  operator T() const {  // NOLINT(google-explicit-constructor)
    return value_.load(std::memory_order_relaxed);
  }
  Relaxed& operator=(T value) {
    value_.store(value, std::memory_order_relaxed);
    return *this;
  }
  /// Sets it to `value` if it is `expected`, in one step; of threads that try it at once one wins.
  bool change(T expected, T value) {
    return value_.compare_exchange_strong(expected, value, std::memory_order_relaxed);
  }
  Relaxed& operator=(const Relaxed& other) { return *this = static_cast<T>(other); }

  T operator->() const { return *this; }

 private:
  std::atomic<T> value_;
};

}  // namespace carrel::core
