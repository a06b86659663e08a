// Budgets for C++20: a bound on what the calling thread may allocate in a scope.
//
//   carrel::Budget budget(1 << 20);
//   parse(request);  // throws std::bad_alloc beyond a megabyte
//
// What is counted and how exactly stands in carrel.h. A budget belongs to the thread that began it,
// and must end there, before those around it.
#pragma once

#include <carrel/carrel.h>

#include <cstddef>
#include <stdexcept>

namespace carrel {

/// A budget that cannot begin: carrel_budget_begin says why.
class BudgetError : public std::runtime_error {
 public:
  explicit BudgetError(carrel_result result)
      : std::runtime_error(carrel_result_text(result)), result_(result) {}
  /// The C API's code.
  [[nodiscard]] carrel_result result() const noexcept { return result_; }

 private:
  carrel_result result_;
};

class Budget {
 public:
  /// From now on the thread may have `bytes` more live than now, or throws BudgetError.
  explicit Budget(std::size_t bytes) {
    const carrel_result result = carrel_budget_begin(bytes, &handle_);
    if (result != CARREL_OK) throw BudgetError(result);
  }
  /// Ends it.
  ~Budget() { carrel_budget_end(handle_); }
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  /// In numbers; all zero when asked by another thread.
  [[nodiscard]] carrel_budget_stats stats() const noexcept {
    carrel_budget_stats stats{};
    carrel_budget_read(handle_, &stats, sizeof stats);
    return stats;
  }

 private:
  carrel_budget* handle_ = nullptr;
};

}  // namespace carrel
