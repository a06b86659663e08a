// The program's functions that are told of sampled allocations, and of the frees of what they were
// told of.
//
// Each has a rate of its own. Allocations are sampled at the highest rate that anybody wants; who
// wants less is told of each sample with the probability that makes its own rate of it, so that
// every function, and the profile, sees an unbiased choice.
//
// The list is guarded by the sample table's lock; a function is called without it. Whoever is
// about to call one counts himself in `running` before letting the lock go: who removes it waits
// until nobody is inside. The functions are kept without their type, which is the API's.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "profile/poisson.h"

namespace carrel::core {

/// What a function is told.
struct SampleEvent {
  void* block = nullptr;
  std::uint64_t size = 0;  // as asked for
  std::uint64_t weight_bytes = 0;
  std::uint64_t lifetime_ns = 0;
  bool freed = false;
};

class SampleHooks {
 public:
  static constexpr unsigned kMost = 8;  // each has a bit of SampledBlock::hooks
  using Function = void (*)();

  struct Hook {
    Function function = nullptr;  // null: nobody's place
    void* context = nullptr;
    std::uint64_t mean_bytes = 0;
    bool frees = false;
    std::atomic<std::uint32_t> running{0};
  };

  /// Those to be called now, copied under the lock.
  struct Calls {
    struct Call {
      Function function;
      void* context;
      std::uint64_t mean_bytes;
      std::uint8_t place;
    };
    Call calls[kMost];
    unsigned count = 0;
    std::uint32_t generation = 0;
  };

  /// Of somebody who wants a sample every `wanted` bytes, where they come every `mean` bytes.
  static constexpr std::uint64_t effective_mean(std::uint64_t wanted, std::uint64_t mean) {
    return wanted > mean ? wanted : mean;
  }

  unsigned count() const { return count_; }

  /// The place of this pair; kMost if there is none.
  unsigned find(Function function, const void* context) const {
    unsigned place = 0;
    while (place < kMost &&
           (hooks_[place].function != function || hooks_[place].context != context)) {
      ++place;
    }
    return place;
  }

  /// False where all places are taken.
  bool add(Function function, void* context, std::uint64_t mean_bytes, bool frees) {
    const unsigned place = find(nullptr, nullptr);
    if (place == kMost) return false;
    Hook& hook = hooks_[place];
    hook.function = function;
    hook.context = context;
    hook.mean_bytes = mean_bytes;
    hook.frees = frees;
    ++count_;
    return true;
  }

  void remove(unsigned place) {
    hooks_[place].function = nullptr;
    hooks_[place].context = nullptr;
    --count_;
  }

  /// How often the one who wants most wants a sample; UINT64_MAX without anybody.
  std::uint64_t least_mean() const {
    std::uint64_t least = UINT64_MAX;
    for (const Hook& hook : hooks_) {
      if (hook.function != nullptr && hook.mean_bytes < least) least = hook.mean_bytes;
    }
    return least;
  }

  /// Whom to tell of an allocation that is sampled every `mean_bytes`; `draw` is a random number up
  /// to its chance of that.
  std::uint8_t choose(std::uint64_t size, std::uint64_t mean_bytes, double draw) const {
    unsigned chosen = 0;
    for (unsigned i = 0; i < kMost; ++i) {
      const Hook& hook = hooks_[i];
      if (hook.function == nullptr) continue;
      const std::uint64_t own = effective_mean(hook.mean_bytes, mean_bytes);
      if (own == mean_bytes || draw <= sample_chance(size, own)) chosen |= 1u << i;
    }
    return static_cast<std::uint8_t>(chosen);
  }

  /// Those of `chosen` that want to hear of frees.
  std::uint8_t wanting_frees(std::uint8_t chosen) const {
    unsigned wanting = 0;
    for (unsigned i = 0; i < kMost; ++i) {
      if ((chosen >> i & 1) != 0 && hooks_[i].frees) wanting |= 1u << i;
    }
    return static_cast<std::uint8_t>(wanting);
  }

  /// Who gets this must call(), without the lock.
  void enter(std::uint8_t chosen, Calls& calls) {
    calls.generation = generation_.load(std::memory_order_relaxed);
    for (unsigned i = 0; i < kMost; ++i) {
      Hook& hook = hooks_[i];
      if ((chosen >> i & 1) == 0 || hook.function == nullptr) continue;
      // Relaxed, as below: the lock orders it before the loads of who removes the hook.
      hook.running.fetch_add(1, std::memory_order_relaxed);
      calls.calls[calls.count++] = {hook.function, hook.context, hook.mean_bytes,
                                    static_cast<std::uint8_t>(i)};
    }
  }

  /// tell(const Call&) for each.
  template <class Tell>
  void call(const Calls& calls, Tell tell) {
    for (unsigned i = 0; i < calls.count; ++i) {
      tell(calls.calls[i]);
      if (calls.generation != generation_.load(std::memory_order_relaxed)) continue;
      // Release pairs with the acquire of who waits: what the function did is done.
      hooks_[calls.calls[i].place].running.fetch_sub(1, std::memory_order_release);
    }
  }

  std::atomic<std::uint32_t>& running(unsigned place) { return hooks_[place].running; }

  /// In the child nobody else is inside of anything, and this thread need not count itself out.
  void reset_after_fork() {
    generation_.fetch_add(1, std::memory_order_relaxed);
    for (Hook& hook : hooks_) hook.running.store(0, std::memory_order_relaxed);
  }

 private:
  Hook hooks_[kMost];
  unsigned count_ = 0;
  std::atomic<std::uint32_t> generation_{0};  // of the process: one more in each child
};

}  // namespace carrel::core
