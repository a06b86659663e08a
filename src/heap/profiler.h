// The heap profiler: takes samples, keeps them, and tells those functions of the program that want
// to hear of them. When it is asked, and how, is heap/sampled_heap.h's business; what becomes of
// the samples, api/profile.cc's and api/sample_hooks.cc's.
//
// Thread-safe; no lock is held while a stack is read or a function called, or while a block is
// allocated or freed.
#pragma once

#include "heap/arena.h"
#include "heap/heap.h"
#include "profile/sample_counter.h"
#include "profile/sample_hooks.h"
#include "profile/sample_table.h"

namespace carrel::core {

/// What the profiler needs of the process.
struct ProfilerTies {
  /// Fills in return addresses, innermost first; returns how many.
  std::size_t (*read_stack)(const void** frames, std::size_t capacity);
  std::uint64_t (*now_ns)();
  /// Of the calling thread: it is inside one of the program's functions.
  bool& (*in_hook)();
  void (*tell)(SampleHooks::Function function, void* context, const SampleEvent& event);
};

template <OsLayer Os>
class Profiler {
 public:
  Profiler(SlabContext<Os>& context, const ProfilerTies& ties)
      : map_(context.map),
        arena_(context, kNoArena, kSampledBlock),
        table_(context.metadata),
        ties_(ties) {
    arena_.set_in_use(true);
  }
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  SampleTable<Os>& table() { return table_; }
  /// Between two samples of the profile.
  std::uint64_t mean_bytes() const { return mean_bytes_.load(std::memory_order_relaxed); }
  /// What is sampled stands for as much as it did when it was; a thread goes by it from its next
  /// prepare() on.
  void set_mean_bytes(std::uint64_t bytes) {
    LockGuard guard(table_);
    mean_bytes_.store(bytes, std::memory_order_relaxed);
    update_rate_locked();
  }

  // For who holds the table's lock: who samples are for.

  void set_profiled_locked(bool profiled) {
    profiled_ = profiled;
    update_rate_locked();
  }
  bool profiled_locked() const { return profiled_; }
  bool wanted_locked() const { return profiled_ || hooks_.count() != 0; }
  SampleHooks& hooks_locked() { return hooks_; }
  /// After a change of the hooks.
  void update_rate_locked() {
    const std::uint64_t least = hooks_.least_mean();
    const std::uint64_t own = profiled_ || least == UINT64_MAX ? mean_bytes() : UINT64_MAX;
    rate_.store(own < least ? own : least, std::memory_order_relaxed);
  }
  /// Takes the hook out that is there; then, without the lock, wait_for_hook.
  void remove_hook_locked(unsigned place) {
    hooks_.remove(place);
    table_.clear_hook_locked(static_cast<std::uint8_t>(1u << place));
    update_rate_locked();
  }

  /// Until no thread is inside of what was in this place; not from within one.
  void wait_for_hook(unsigned place) {
    if (ties_.in_hook()) return;
    std::atomic<std::uint32_t>& running = hooks_.running(place);
    for (std::uint32_t inside; (inside = running.load(std::memory_order_acquire)) != 0;) {
      Os::wait(running, inside, 1);
    }
  }

  /// Innermost frames in this range are left out: carrel's own.
  void hide(std::uintptr_t start, std::uintptr_t end) {
    hidden_start_ = start;
    hidden_end_ = end;
  }

  /// Blocks and bytes in the slabs of small sampled blocks.
  ArenaTotals totals() {
    ArenaTotals totals;
    arena_.totals(totals);
    return totals;
  }

  // What the heap calls; see ProfileHooks.

  /// To begin the countdowns anew loses nothing: they have no memory of what was counted.
  bool prepare(SampleCounter& counter) const {
    const std::uint64_t mean = rate_.load(std::memory_order_relaxed);
    if (CARREL_LIKELY(counter.mean_bytes == mean)) return false;
    if (counter.random_state == 0) counter.random_state = Os::random_word() | 1;
    counter.mean_bytes = mean;
    counter.draw_large();
    return true;
  }

  void* sample(SampleCounter& counter, std::size_t size) {
    const Sampling sampling(counter);
    counter.draw_class(size_class_for(size));
    if (ties_.in_hook()) return nullptr;
    Sample sample = choose(counter, size);
    if (!sample.profiled && sample.hooks == 0) return nullptr;
    StackTrace trace;
    if (sample.profiled) read_stack(trace);
    void* block = arena_.allocate(size, kSlotAlignment, false);
    if (block == nullptr) return nullptr;
    if (add(sample, block, size, trace)) return block;
    arena_.free(span_of(block), block, [] {});
    return nullptr;
  }

  bool sample_large(SampleCounter& counter, void* block, std::size_t size) {
    const Sampling sampling(counter);
    counter.draw_large();
    if (ties_.in_hook()) return false;
    Sample sample = choose(counter, size);
    if (!sample.profiled && sample.hooks == 0) return false;
    StackTrace trace;
    if (sample.profiled) read_stack(trace);
    return add(sample, block, size, trace);
  }

  void free(void* block) {
    // First out of the table: its address may be sampled again at once. What is not in it is for
    // the slab to judge.
    forget(block);
    arena_.free(span_of(block), block, [] {});
  }

  /// Out of the table; who wants to hear of it does, while the block is still there.
  void forget(const void* block) {
    const std::uint64_t now_ns = ties_.now_ns();
    SampledBlock sampled;
    SampleHooks::Calls calls;
    {
      LockGuard guard(table_);
      if (!table_.remove_locked(block, now_ns, sampled)) return;
      if (sampled.hooks == 0 || ties_.in_hook()) return;
      hooks_.enter(sampled.hooks, calls);
    }
    const std::uint64_t lifetime_ns = now_ns > sampled.time_ns ? now_ns - sampled.time_ns : 0;
    tell(calls, sampled,
         {.block = const_cast<void*>(block),
          .size = sampled.size,
          .lifetime_ns = lifetime_ns,
          .freed = true});
  }

  void release_empty() { arena_.release_empty(); }

  void before_fork() {
    arena_.lock();
    table_.lock();
  }
  void after_fork(bool in_child) {
    if (in_child) {
      table_.reset_after_fork();
      hooks_.reset_after_fork();
      arena_.reset_after_fork();
    } else {
      table_.unlock();
      arena_.unlock();
    }
  }

 private:
  friend struct HeapLayoutTable;  // says where these are: api/heap_layout.cc
  static constexpr std::uint32_t kNoArena = 0xFFFFFFFF;

  /// While a sample is taken the thread's other requests are neither counted nor sampled: the
  /// unwinder may allocate.
  class Sampling {
   public:
    explicit Sampling(SampleCounter& counter) : counter_(counter) { counter.sampling = true; }
    ~Sampling() { counter_.sampling = false; }
    Sampling(const Sampling&) = delete;
    Sampling& operator=(const Sampling&) = delete;

   private:
    SampleCounter& counter_;
  };

  Span* span_of(const void* block) const { return map_.span_of(block); }

  void read_stack(StackTrace& trace) const {
    const void* frames[StackTrace::kMaxFrames + kMostHidden];
    const std::size_t count = ties_.read_stack(frames, StackTrace::kMaxFrames + kMostHidden);
    std::size_t first = 0;
    while (first < count &&
           address_of(frames[first]) - hidden_start_ < hidden_end_ - hidden_start_) {
      ++first;
    }
    std::size_t depth = count - first;
    if (depth > StackTrace::kMaxFrames) depth = StackTrace::kMaxFrames;
    memcpy(trace.frames, frames + first, depth * sizeof(void*));
    trace.depth = static_cast<std::uint32_t>(depth);
  }

  /// An allocation whose byte was hit, and for whom.
  struct Sample {
    std::uint64_t mean_bytes = 0;  // that the countdown was drawn with
    bool profiled = false;
    double weight = 0;  // in the profile
    std::uint8_t hooks = 0;
  };

  Sample choose(SampleCounter& counter, std::size_t requested) {
    const std::uint64_t size = counted_for_sampling(requested);
    const std::uint64_t mean = counter.mean_bytes;
    const double draw = next_uniform(counter.random_state) * sample_chance(size, mean);
    Sample sample{.mean_bytes = mean};
    LockGuard guard(table_);
    if (profiled_) {
      const std::uint64_t own = SampleHooks::effective_mean(mean_bytes(), mean);
      sample.profiled = own == mean || draw <= sample_chance(size, own);
      sample.weight = sample_weight(size, own);
    }
    if (hooks_.count() != 0) sample.hooks = hooks_.choose(size, mean, draw);
    return sample;
  }

  bool add(const Sample& sample, void* block, std::size_t size, const StackTrace& trace) {
    SampledBlock sampled = {
        .block = block, .size = size, .mean_bytes = sample.mean_bytes, .time_ns = ties_.now_ns()};
    SampleHooks::Calls calls;
    {
      LockGuard guard(table_);
      hooks_.enter(sample.hooks, calls);
      std::uint8_t entered = 0;
      for (unsigned i = 0; i < calls.count; ++i) entered |= 1u << calls.calls[i].place;
      sampled.hooks = hooks_.wanting_frees(entered);
      if (!table_.add_locked(sampled, sample.weight, sample.profiled ? &trace : nullptr)) {
        hooks_.call(calls, [](const SampleHooks::Calls::Call&) {});
        return false;
      }
    }
    if (calls.count != 0) tell(calls, sampled, {.block = block, .size = size});
    return true;
  }

  void tell(const SampleHooks::Calls& calls, const SampledBlock& sampled, SampleEvent event) {
    bool& inside = ties_.in_hook();
    inside = true;
    hooks_.call(calls, [&](const SampleHooks::Calls::Call& call) {
      const std::uint64_t own = SampleHooks::effective_mean(call.mean_bytes, sampled.mean_bytes);
      event.weight_bytes =
          static_cast<std::uint64_t>(sample_weight(counted_for_sampling(sampled.size), own) *
                                         static_cast<double>(sampled.size) +
                                     0.5);
      ties_.tell(call.function, call.context, event);
    });
    inside = false;
  }

  static constexpr std::size_t kMostHidden = 16;

  PageMap<Os>& map_;
  Arena<Os> arena_;
  SampleTable<Os> table_;
  const ProfilerTies ties_;
  SampleHooks hooks_;      // guarded by the table's lock, as what follows
  bool profiled_ = false;  // samples go into the profile
  std::atomic<std::uint64_t> mean_bytes_{512 * kKiB};
  /// Bytes between two samples for whoever wants most of them; never 0.
  std::atomic<std::uint64_t> rate_{512 * kKiB};
  std::uintptr_t hidden_start_ = 0;
  std::uintptr_t hidden_end_ = 0;
};

}  // namespace carrel::core
