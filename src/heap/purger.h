// When memory goes back to the system: the decay clock, the helper thread that watches it
// while the program is idle, and what happens without that thread.
//
// Basic design: freed spans rest in the pool for decay_ms and are then purged. Slabs that
// nobody used for a second give back the whole pages in which every slot is free. A helper
// thread does both, ten times a second; it is started when there is something worth giving
// back and ends when there is nothing left. Where it is switched off or cannot be had,
// threads do a share of the work when they pass a slow path, and free memory is bounded
// in proportion to the heap. Where memory is short for the control group or the machine, nothing
// rests: what is free goes back at the next tick, and threads empty their caches.
//
// Time is counted in ticks of 100 ms; in the pool they wrap around within 1 to 255.
// Any thread may call poll(); run() is the helper's.
#pragma once

#include "heap/options.h"
#include "heap/span_cache.h"
#include "slab/shards.h"

namespace carrel::core {

/// Ticks after which what is free is purged.
inline std::uint8_t decay_ticks_of(std::uint32_t ms) {
  return static_cast<std::uint8_t>((ms + 99) / 100);
}

/// Memory that rests elsewhere than in the heap's pool: in arenas' own (heap/arena_set.h).
struct OtherMemory {
  std::size_t (*purge)(bool everything, bool on_helper);  // returns granules
  std::size_t (*resting)();                               // granules
};

template <OsLayer Os>
class Purger {
 public:
  constexpr Purger(SlabContext<Os>& context, Shards<Os>& shards, SpanCache<Os>& spans,
                   const Options& options)
      : context_(context), shards_(shards), spans_(spans), options_(options) {}
  Purger(const Purger&) = delete;
  Purger& operator=(const Purger&) = delete;

  /// Before the heap is used: from how much free memory on a helper is worth its start.
  void initialize(std::size_t start_bytes) { start_granules_ = start_bytes >> kGranuleShift; }

  /// `entry` is called on the helper thread and must call run(). Until this is called no
  /// helper is started.
  void allow_helper(void (*entry)()) { entry_.store(entry, std::memory_order_release); }

  /// Once, when there is such memory.
  void set_other(const OtherMemory* other) { other_.store(other, std::memory_order_release); }

  /// All of it, or what has rested long enough there.
  std::size_t purge_elsewhere(bool everything, bool on_helper) {
    const OtherMemory* other = other_.load(std::memory_order_acquire);
    return other == nullptr ? 0 : other->purge(everything, on_helper);
  }

  /// Reads the clock, before something is released. A heap that is too small to give anything back,
  /// as a small program's, never asks for the time.
  void keep_time() {
    if (context_.pool.added_granules() < start_granules_ || !update_clock()) return;
    tick_unserved_.store(true, std::memory_order_relaxed);
  }

  /// Called now and then from slow paths, without locks: keeps the clock, and starts the
  /// helper or does a share of its work.
  void poll() {
    if (context_.pool.added_granules() < start_granules_) return;
    keep_time();
    const bool new_tick = tick_unserved_.load(std::memory_order_relaxed);
    if (helper_running_.load(std::memory_order_seq_cst)) return;
    const std::size_t kept = new_tick ? spans_.granules() : 0;
    const bool much = context_.pool.totals().touched + kept >= start_granules_ ||
                      (new_tick && resting_elsewhere() != 0) ||
                      sweep_until_.load(std::memory_order_relaxed) > ticks() ||
                      context_.pool.memory_is_short() || (new_tick && context_.pool.may_collapse());
    if (!much) return;
    // Where no thread is to be had, it is asked for again only now and then.
    if (options_.purge_thread != 0 &&
        static_cast<std::int32_t>(ticks() - retry_at_.load(std::memory_order_relaxed)) >= 0) {
      if (start_helper()) return;
      retry_at_.store(ticks() + kRetryTicks, std::memory_order_relaxed);
    }
    if (new_tick && tick_unserved_.exchange(false, std::memory_order_relaxed)) {
      purge_without_helper();
    }
  }

  /// Says that slabs have got many free slots: look for cold ones for a while.
  void request_sweep() {
    sweep_until_.store(ticks() + kColdTicks + 2 * kSweepEveryTicks, std::memory_order_seq_cst);
    poll();
  }

  /// Counts bytes that a thread which is going away gave back to slabs.
  void note_given(std::size_t bytes, std::size_t enough) {
    if (given_by_gone_.fetch_add(bytes, std::memory_order_relaxed) + bytes < enough) return;
    given_by_gone_.store(0, std::memory_order_relaxed);
    request_sweep();
  }

  /// The helper thread's life. Its code must not use thread-local storage.
  CARREL_COLD void run() {
    std::uint32_t idle_ticks = 0;
    std::uint32_t next_sweep = ticks() + kSweepEveryTicks;
    for (;;) {
      Os::wait(sleep_word_, 0, kTickMs);
      update_clock();
      std::size_t done = spans_.release_idle();
      done += context_.pool.purge_older_than(decay_ticks(), kNoLimit);
      done += purge_elsewhere(false, true);
      const bool sweeping = sweep_until_.load(std::memory_order_relaxed) > ticks();
      if (sweeping && static_cast<std::int32_t>(ticks() - next_sweep) >= 0) {
        done += sweep(kColdTicks);
        next_sweep = ticks() + kSweepEveryTicks;
      }
      if (look_at_memory()) done += sweep(1);
      if (context_.pool.collapse_dense()) ++done;
      idle_ticks = done != 0 || sweeping || context_.pool.may_collapse() ? 0 : idle_ticks + 1;
      const bool nothing_left =
          context_.pool.totals().touched == 0 && spans_.granules() == 0 && resting_elsewhere() == 0;
      const bool wanted = options_.purge_thread != 0 &&
                          (idle_ticks < (nothing_left ? kLingerTicks : kGiveUpTicks) ||
                           context_.pool.memory_is_short());
      if (wanted) continue;
      // Seq_cst, as in start_helper(): either poll() sees that the helper is gone, or the
      // helper sees here the work that poll() was called for: SpanPool::insert() counts touched
      // memory with seq_cst too, since a relaxed update may pass poll()'s load.
      helper_running_.store(false, std::memory_order_seq_cst);
      std::atomic_thread_fence(std::memory_order_seq_cst);
      const bool work = options_.purge_thread != 0 && idle_ticks < kGiveUpTicks &&
                        (context_.pool.totals().touched >= start_granules_ ||
                         sweep_until_.load(std::memory_order_seq_cst) > ticks());
      if (!work || helper_running_.exchange(true)) return;
    }
  }

  /// Everything, now: for malloc_trim and for when memory is short. Returns the bytes.
  CARREL_COLD std::size_t purge_all() {
    update_clock();
    spans_.release_all();
    std::size_t bytes = sweep(0);
    bytes += purge_elsewhere(true, false) << kGranuleShift;
    bytes += context_.pool.purge_older_than(0, kNoLimit) << kGranuleShift;
    return bytes;
  }

  /// True when a new tick has begun.
  bool update_clock() {
    const auto now = static_cast<std::uint32_t>(Os::now_ms() / kTickMs);
    std::uint32_t before = context_.tick.load(std::memory_order_relaxed);
    // Never back: another thread may have read the clock later and be here earlier.
    if (static_cast<std::int32_t>(now - before) <= 0 ||
        !context_.tick.compare_exchange_strong(before, now, std::memory_order_relaxed)) {
      return false;
    }
    context_.pool.set_tick(static_cast<std::uint8_t>(now % 255 + 1));
    return true;
  }

  bool helper_running() const { return helper_running_.load(std::memory_order_relaxed); }

  void reset_after_fork() {
    helper_running_.store(false, std::memory_order_relaxed);
    Os::forget_thread();
  }

  std::uint32_t ticks() const { return context_.tick.load(std::memory_order_relaxed); }

 private:
  static constexpr std::uint32_t kTickMs = 100;
  static constexpr std::uint32_t kColdTicks = 10;
  static constexpr std::uint32_t kSweepEveryTicks = 5;
  static constexpr std::uint32_t kLookTicks = 10;
  static constexpr std::uint32_t kLingerTicks = 10;
  static constexpr std::uint32_t kRetryTicks = 10;
  static constexpr std::uint32_t kGiveUpTicks = 250;  // longer than the longest decay: the
                                                      // system refuses (locked memory)
  static constexpr std::size_t kNoLimit = SIZE_MAX;

  /// 0 while memory is short.
  std::uint8_t decay_ticks() const {
    if (context_.pool.memory_is_short()) return 0;
    return decay_ticks_of(options_.decay_ms);
  }

  std::size_t resting_elsewhere() const {
    const OtherMemory* other = other_.load(std::memory_order_acquire);
    return other == nullptr ? 0 : other->resting();
  }

  /// Asks the system, once a second, whether memory is short. Threads that pass a slow path then
  /// empty their caches; see Heap::relieve.
  bool look_at_memory() {
    const std::uint32_t now = ticks();
    std::uint32_t due = next_look_.load(std::memory_order_relaxed);
    if (static_cast<std::int32_t>(now - due) < 0 ||
        !next_look_.compare_exchange_strong(due, now + kLookTicks, std::memory_order_relaxed)) {
      return false;
    }
    const bool is_short = options_.watch_memory != 0 && Os::memory_is_short();
    context_.pool.set_memory_short(is_short);
    return is_short;
  }

  bool start_helper() {
    void (*entry)() = entry_.load(std::memory_order_acquire);
    if (entry == nullptr || helper_running_.exchange(true)) return true;
    if (Os::start_thread(entry)) return true;
    helper_running_.store(false);
    return false;
  }

  /// At most once a tick: what is stale, in small portions, and at once what exceeds a
  /// quarter of the heap.
  CARREL_COLD void purge_without_helper() {
    constexpr std::size_t kPortion = 8 * kMiB >> kGranuleShift;
    look_at_memory();
    spans_.release_idle();
    context_.pool.purge_older_than(decay_ticks(), kPortion);
    purge_elsewhere(false, false);
    const PoolTotals totals = context_.pool.totals();
    const std::size_t bound = start_granules_ + (totals.added - totals.free) / 4;
    if (totals.touched > bound) context_.pool.purge_older_than(0, totals.touched - bound);
    const std::uint32_t due = sweep_until_.load(std::memory_order_relaxed);
    if (due > ticks() && ticks() % kSweepEveryTicks == 0) sweep(kColdTicks);
  }

  /// Visits every slab. Reads descriptions without their locks, which is harmless because
  /// they are type-stable; the bin looks again under its lock.
  CARREL_COLD std::size_t sweep(std::uint32_t age) {
    std::size_t bytes = 0;
    const std::size_t count = context_.map.granule_count();
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint8_t size_class = plain_class(context_.map.class_seen_at(i));
      if (size_class == kNotOurs || size_class > kClassCount) continue;
      Span* slab = context_.map.granule(i).span;
      if (slab == nullptr) continue;
      const std::uint32_t shard = slab->shard;
      if (shard >= shards_.count()) continue;
      LockGuard slots_held(context_.pool.purging());
      bytes += shards_.bin(shard, size_class).purge_cold(context_, slab, age);
    }
    return bytes;
  }

  SlabContext<Os>& context_;
  Shards<Os>& shards_;
  SpanCache<Os>& spans_;
  const Options& options_;
  std::size_t start_granules_ = 0;
  std::atomic<void (*)()> entry_{nullptr};
  std::atomic<const OtherMemory*> other_{nullptr};
  std::atomic<bool> helper_running_{false};
  std::atomic<std::uint32_t> sweep_until_{0};
  std::atomic<std::uint32_t> retry_at_{0};
  std::atomic<std::uint32_t> next_look_{0};
  std::atomic<bool> tick_unserved_{false};  // a tick's share of the work is not yet done
  std::atomic<std::size_t> given_by_gone_{0};
  std::atomic<std::uint32_t> sleep_word_{0};  // never changes: the helper sleeps a tick
};

}  // namespace carrel::core
