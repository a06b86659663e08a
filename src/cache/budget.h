// A bound on what one thread may have live more than at some moment, and the account of that.
//
// All of a thread's budgets lie one in another, and share one account: what it allocated less what
// it freed since the outermost began. Each remembers where the account stood at its begin, and the
// lowest of the bounds around it, so that one comparison answers for all. Used by its own thread
// only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace carrel::core {

struct Budget {
  Budget* outer = nullptr;
  std::int64_t start = 0;      // the account at its begin
  std::int64_t ceiling = 0;    // the most that the account may come to: its own bound and all outer
  std::int64_t peak = 0;       // the most that it has come to meanwhile
  std::uint64_t bound = 0;     // that was asked for
  std::uint64_t refusals = 0;  // requests that did not fit
};

/// The innermost budget of a thread, and its account.
struct BudgetAccount {
  Budget* innermost = nullptr;
  std::int64_t live_bytes = 0;

  /// Below all bounds.
  std::uint64_t room() const {
    const std::int64_t room = innermost->ceiling - live_bytes;
    return room > 0 ? static_cast<std::uint64_t>(room) : 0;
  }
  bool has_room(std::size_t bytes) const { return bytes <= room(); }

  void add(std::int64_t bytes) {
    live_bytes += bytes;
    if (live_bytes > innermost->peak) innermost->peak = live_bytes;
  }

  void begin(Budget& budget, std::uint64_t bound) {
    budget.outer = innermost;
    budget.start = budget.peak = live_bytes;
    budget.bound = bound;
    std::int64_t ceiling = 0;
    if (__builtin_add_overflow(live_bytes, static_cast<std::int64_t>(bound), &ceiling)) {
      ceiling = INT64_MAX;
    }
    if (innermost != nullptr && innermost->ceiling < ceiling) ceiling = innermost->ceiling;
    budget.ceiling = ceiling;
    innermost = &budget;
  }

  /// Takes the innermost off; the account begins anew after the outermost.
  Budget* end() {
    Budget* budget = innermost;
    innermost = budget->outer;
    if (innermost == nullptr) {
      live_bytes = 0;
    } else if (budget->peak > innermost->peak) {
      innermost->peak = budget->peak;
    }
    return budget;
  }

  bool has(const Budget* budget) const {
    const Budget* each = innermost;
    while (each != nullptr && each != budget) each = each->outer;
    return each != nullptr;
  }
};

}  // namespace carrel::core
