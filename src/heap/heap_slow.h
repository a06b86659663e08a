// The heap's slow paths: first use, a thread's first call, misses, exhaustion, fork. The
// map of who calls what is at the top of heap.h. Included where a heap is instantiated.
#pragma once

#include "heap/budgets.h"
#include "heap/faults.h"
#include "heap/hardened_heap.h"
#include "heap/sampled_heap.h"

namespace carrel::core {

template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::allocate_slow(std::size_t size) {
  ThreadCache* cache = Tls::cache();
  if (CARREL_UNLIKELY(cache->behind != nullptr)) return allocate_in_budget(*cache, size);
  return allocate_missed(size);
}

template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::allocate_missed(std::size_t size) {
  if (size > kLargestSlotRequest) return allocate_large(size, kSlotAlignment, false);
  if constexpr (kCanStepAside) {
    if (CARREL_UNLIKELY(!own_cache()->attached) && initialize()) {
      // An aligned request comes as the size of a slot that is aligned as much.
      const std::size_t alignment = size & (~size + 1);
      if (const AsideHooks* other = aside()) return other->allocate(size, alignment, false);
    }
  }
  if constexpr (kCanSample) {
    if (CARREL_UNLIKELY(profiling_.load(std::memory_order_relaxed))) return allocate_counted(size);
  }
  const std::uint8_t id = guarded_class_for(size);
  if constexpr (kHard.guarded_slots != 0) {
    void* sample = sample_guarded(id, size, kSlotAlignment);
    if (CARREL_UNLIKELY(sample != nullptr)) return sample;
  }
  void* block = take_slot(id, size);
  if constexpr (kHard.check_frees) {
    if (block != nullptr) guard_.hand_out(map_, block, id, size);
  }
  return block;
}

/// `size` is for who is told that it cannot be had.
template <Config C, OsLayer Os, class Tls>
CARREL_INLINE void* Heap<C, Os, Tls>::take_slot(std::uint8_t id, std::size_t size) {
  void* block = take_slot_once(id);
  return CARREL_LIKELY(block != nullptr) ? block : take_slot_again(id, size);
}

template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::take_slot_again(std::uint8_t id, std::size_t size) {
  void* block = nullptr;
  for (std::uint32_t attempt = 1; block == nullptr && Tls::try_again(size, kSlotAlignment, attempt);
       ++attempt) {
    block = take_slot_once(id);
  }
  return block;
}

template <Config C, OsLayer Os, class Tls>
CARREL_INLINE void* Heap<C, Os, Tls>::take_slot_once(std::uint8_t id) {
  ThreadCache* cache = own_cache();
  if (CARREL_UNLIKELY(!cache->attached)) {
    cache = attach_thread();
    if (cache == nullptr) return take_uncached(id);
  }
  // A request of no bytes comes here although its bin may hold blocks.
  CacheBin& bin = cache->bins[bin_to_pop<kHard>(id)];
  if (bin.top != bin.floor) return *--bin.top;
  keep_house(*cache);
  void* block = keeper_.refill(*cache, id);
  if (CARREL_LIKELY(block != nullptr)) return block;
  reclaim();
  return keeper_.refill(*cache, id);
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::free_slow(void* block) {
  ThreadCache* cache = Tls::cache();
  if (CARREL_UNLIKELY(cache->behind != nullptr)) return free_in_budget(*cache, block);
  free_missed(block);
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::free_missed(void* block) {
  if (block == nullptr) return;
  const std::uint8_t value = map_.class_of(block);
  if constexpr (kCanSample) {
    if (value == kSampledBlock) return profile_hooks()->free(block);
  }
  if constexpr (kHard.guarded_slots != 0) {
    if (value == kGuardedBlock) return slots_.free(block);
  }
  if (value == kNotOurs) {
    if (const AsideHooks* other = aside()) return other->free(block);
    report_misuse(block);
  }
  if (value == kArenaBlock) return arena_hooks()->free(block);
  if (value == kLargeBlock) {
    check_large(block);
    forget_large(block);
    free_large(block);
    return;
  }
  if constexpr (kHard.check_frees) guard_.report_misaligned(map_, block, plain_class(value));
  push_slow(block, value);
}

template <Config C, OsLayer Os, class Tls>
CARREL_INLINE void Heap<C, Os, Tls>::push_slow(void* block, std::uint8_t value) {
  ThreadCache* cache = own_cache();
  if (CARREL_UNLIKELY(!cache->attached)) {
    cache = attach_thread();
    if (cache == nullptr) {
      shards_.give(plain_class(value), &block, 1, 0);
      return;
    }
  }
  keep_house(*cache);
  keeper_.push_full(*cache, value, block);
}

template <Config C, OsLayer Os, class Tls>
CARREL_INLINE void Heap<C, Os, Tls>::free_large(void* block) {
  if constexpr (!kHard.guard_large) {
    ThreadCache& cache = *own_cache();
    if (large_.free_and_keep(block, cache)) {
      if (cache.kept.many_pushed()) purger_.poll();
      return;
    }
  }
  purger_.keep_time();  // what is released is stamped with it
  large_.free(block);
  purger_.poll();
}

/// Null for a thread that is on its way out, and when memory is exhausted: such a thread
/// is served without a cache.
template <Config C, OsLayer Os, class Tls>
ThreadCache* Heap<C, Os, Tls>::attach_thread() {
  if (!initialize() || !Tls::may_attach() || aside() != nullptr) return nullptr;
  // Setting up may have allocated already, on this thread.
  if (own_cache()->attached) return own_cache();
  ThreadCache* cache = registry_.attach(shards_.count());
  if (cache == nullptr) return nullptr;
  shards_.prepare(cache->shard);
  // The cache's address tells threads apart.
  if constexpr (kHard.quarantine_bytes != 0) cache->random.seed(context_.seed, address_of(cache));
  Tls::set_cache(cache);  // which may itself allocate: the cache is ready for that
  return cache;
}

template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::allocate_large(std::size_t size, std::size_t alignment, bool zero) {
  if (CARREL_UNLIKELY(Tls::cache()->behind != nullptr)) {
    return allocate_large_in_budget(size, alignment, zero);
  }
  return allocate_large_now(size, alignment, zero);
}

template <Config C, OsLayer Os, class Tls>
CARREL_INLINE void* Heap<C, Os, Tls>::allocate_large_now(std::size_t size, std::size_t alignment,
                                                         bool zero) {
  if (!initialize()) return nullptr;
  if (const AsideHooks* other = aside()) return other->allocate(size, alignment, zero);
  if (CARREL_UNLIKELY(!own_cache()->attached)) attach_thread();  // where spans are kept
  ThreadCache& cache = *own_cache();
  if (CARREL_UNLIKELY(pool_.over_soft_limit())) relieve(cache);
  void* block = take_large(size, alignment, zero, cache);
  for (std::uint32_t attempt = 1;
       CARREL_UNLIKELY(block == nullptr) && size <= kMaxRequestBytes &&
       alignment <= kMaxRequestBytes && Tls::try_again(size, alignment, attempt);
       ++attempt) {
    block = take_large(size, alignment, zero, cache);
  }
  CARREL_PROBE("large", block, size);
  if constexpr (kHard.guarded_slots != 0) watch_faults();
  if (CARREL_LIKELY(block != nullptr)) count_large(block, size);
  return block;
}

template <Config C, OsLayer Os, class Tls>
CARREL_INLINE void* Heap<C, Os, Tls>::take_large(std::size_t size, std::size_t alignment, bool zero,
                                                 ThreadCache& cache) {
  void* block = nullptr;
  if constexpr (!kHard.guard_large) {
    if (alignment <= kGranuleBytes) block = large_.reuse(size, zero, cache);
    if (block != nullptr) return block;
  }
  block = large_.allocate(size, alignment, zero);
  if (CARREL_LIKELY(block != nullptr) || size > kMaxRequestBytes) return block;
  reclaim();
  return large_.allocate(size, alignment, zero);
}

/// reallocate, for all that is no slot into which the new size fits. `id` is the block's class.
template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::reallocate_slow(void* block, std::uint8_t id, std::size_t size,
                                        std::size_t alignment) {
  if (block == nullptr) return aligned_allocate(alignment, size);
  if (id == kArenaBlock) return arena_hooks()->reallocate(block, size, alignment);
  if constexpr (kHard.check_frees) {
    if (resize_guarded(block, id, size)) return block;
    return move_block(block, id, usable_size(block), size, alignment);
  }
  if (CARREL_LIKELY(id - 1u < kClassCount)) {
    return move_block(block, id, kClasses[id].slot_bytes, size, alignment);
  }
  if (id == kLargeBlock && resize_large(block, size)) return block;
  const std::size_t bytes = usable_size(block);
  if (id == kSampledBlock && fits(size, bytes)) return block;
  return move_block(block, id, bytes, size, alignment);
}

template <Config C, OsLayer Os, class Tls>
CARREL_INLINE void* Heap<C, Os, Tls>::move_block(void* block, std::uint8_t id,
                                                 std::size_t old_bytes, std::size_t size,
                                                 std::size_t alignment) {
  if (id == kLargeBlock && size > old_bytes) {
    const std::size_t counted = counted_bytes(block);
    void* moved = nullptr;
    if (may_resize(counted, size)) {
      forget_large(block);  // if it stays after all, out of the profile
      moved = large_.grow_by_moving(block, size, alignment);
    }
    if (moved != nullptr) {
      count_out_of_budgets(counted);
      count_in_budgets(moved);
      count_large(moved, size);
      return moved;
    }
  }
  void* target = aligned_allocate(alignment, size);
  if (target == nullptr) {  // a block that shrinks stays, where it can be told so
    if (size > old_bytes) return nullptr;
    if constexpr (kHard.check_frees) return shrink_guarded(block, id, size) ? block : nullptr;
    return block;
  }
  memcpy(target, block, size < old_bytes ? size : old_bytes);
  free(block);
  return target;
}

template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::take_uncached(std::uint8_t size_class) {
  if (!initialize()) return nullptr;
  void* block = nullptr;
  return shards_.take(0, size_class, &block + 1, 1) == 1 ? block : nullptr;
}

/// Memory is short: lets go of what is cached and empty, so that it can serve others.
template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::reclaim() {
  ThreadCache* cache = own_cache();
  if (cache->attached) flush(*cache);
  release_empty();
  if constexpr (kHard.fenced_large != 0) large_.release_fenced();
  // Free memory that is resident counts, and may be in pieces that are too short.
  purger_.purge_elsewhere(true, false);
  if (pool_.has_hard_limit()) pool_.purge_older_than(0, SIZE_MAX);
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::release_empty() {
  spans_.release_all();
  shards_.for_each_bin([this](SlabBin<Os>& bin, std::uint8_t) { bin.release_empty(context_); });
  if (const ArenaHooks* arenas = arena_hooks()) arenas->release_empty();
  if (const ProfileHooks* profile = profile_hooks()) profile->release_empty();
}

/// Gives back all blocks that the thread keeps.
template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::flush(ThreadCache& cache) {
  keeper_.flush(cache);
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::keep_house(ThreadCache& cache) {
  purger_.poll();
  if (CARREL_UNLIKELY(pool_.over_soft_limit())) relieve(cache);
  if (cache.given_bytes >= C.purge_start_bytes) {
    cache.given_bytes = 0;
    purger_.request_sweep();
  }
  keeper_.trim(cache, purger_.ticks());
  if constexpr (kCanSample) {
    if (CARREL_UNLIKELY(profiling_.load(std::memory_order_relaxed) || cache.counter != nullptr)) {
      follow_profiling(cache);
    }
  }
}

/// Beyond the soft limit: each thread that comes by empties its cache, and one of them purges
/// what is free, all at most once a tick.
template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::relieve(ThreadCache& cache) {
  purger_.update_clock();
  const std::uint32_t tick = purger_.ticks();
  if (cache.attached && cache.last_relief_tick != tick) {
    cache.last_relief_tick = tick;
    flush(cache);
  }
  if (relief_tick_.exchange(tick, std::memory_order_relaxed) == tick) return;
  release_empty();
  purger_.purge_all();
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::apply_limits() {
  const auto bytes = [](std::uint32_t mib) { return mib == 0 ? SIZE_MAX : mib * kMiB; };
  pool_.set_limits(bytes(options_.soft_limit_mib), bytes(options_.limit_mib));
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::report_misuse(const void* pointer) {
  // A free span's inner granules have no entry of their own: look for its beginning.
  std::size_t index = map_.index_of(pointer);
  if (index < map_.granule_count()) {
    for (std::size_t at = index + 1; at-- > 0;) {
      const Span* span = map_.granule(at).span;
      if (span == nullptr || span->state == SpanState::kUnused) continue;
      if (span->first > index || index - span->first >= span->count) continue;
      if (span->state == SpanState::kFree || span->state == SpanState::kPurging ||
          span->state == SpanState::kKept) {
        Report<Os>::double_free(pointer);
      }
      if (span->state == SpanState::kLarge) {
        Report<Os>::interior_pointer(pointer);
      }
      break;
    }
  }
  Report<Os>::invalid_free(pointer);
}

template <Config C, OsLayer Os, class Tls>
bool Heap<C, Os, Tls>::initialize_now() {
  if (!begin_setup()) return true;
  if (!prepare_parts()) {
    state_.store(kUntouched, std::memory_order_release);
    return false;
  }
  Tls::before_ready();
  // Release pairs with the acquire in ready() and above: who sees kReady sees the parts.
  state_.store(kReady, std::memory_order_release);
  Tls::after_ready(options_);
  purger_.allow_helper(Tls::purger_entry);
  return true;
}

/// True: the heap is not ready, and this thread alone may set it up (state kBusy).
template <Config C, OsLayer Os, class Tls>
bool Heap<C, Os, Tls>::begin_setup() {
  for (;;) {
    std::uint32_t expected = kUntouched;
    if (state_.compare_exchange_strong(expected, kBusy, std::memory_order_acquire)) return true;
    if (expected == kReady) return false;
    Os::yield();  // another thread is at it
  }
}

template <Config C, OsLayer Os, class Tls>
OptionError Heap<C, Os, Tls>::set_option_now(TextView key, TextView value) {
  if (!begin_setup()) {
    const OptionError error = set_option(options_, key, value, true);
    apply_limits();
    return error;
  }
  if (!options_read_) read_options();
  const OptionError error = set_option(options_, key, value, false);
  state_.store(kUntouched, std::memory_order_release);
  return error;
}

template <Config C, OsLayer Os, class Tls>
const Options& Heap<C, Os, Tls>::options_now() {
  if (!ready() && begin_setup()) {
    if (!options_read_) read_options();
    state_.store(kUntouched, std::memory_order_release);
  }
  return options_;
}

/// What was done stays done if memory is short and it must be tried again.
template <Config C, OsLayer Os, class Tls>
bool Heap<C, Os, Tls>::prepare_parts() {
  if (!options_read_) read_options();
  if (!window_chosen_ && !map_.initialize(C.window_bytes)) return false;
  window_chosen_ = true;
  if (!shards_.initialize(options_.shards)) return false;
  apply_limits();
  if (options_.huge_pages != 0) pool_.set_huge_start(C.huge_start_bytes);
  purger_.initialize(C.purge_start_bytes);
  if constexpr (kHard != Hardening{}) prepare_hardening();
  limits_.compute(options_.cache_kib * kKiB, C.cache_min_slots, C.cache_max_slots);
  return true;
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::read_options() {
  options_.decay_ms = C.decay_ms;
  options_.guard_sample = C.guard_sample;
  options_.cache_kib = static_cast<std::uint32_t>(C.cache_bytes_per_class / kKiB);
  const std::uint32_t cpus = Os::cpu_count();
  options_.shards = cpus < C.max_shards ? cpus : C.max_shards;
  Tls::read_options(options_);
  options_read_ = true;
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::before_fork() {
  for (;;) {
    const ArenaHooks* arenas = arena_hooks();
    const ProfileHooks* profile = profile_hooks();
    if (arenas != nullptr) arenas->before_fork();
    if (profile != nullptr) profile->before_fork();
    pool_.purging().lock();
    registry_.lock();  // from here on no hooks are set
    if (arenas == arena_hooks() && profile == profile_hooks()) break;
    if (profile != nullptr) profile->after_fork(false);
    if (arenas != nullptr) arenas->after_fork(false);
    registry_.unlock();
    pool_.purging().unlock();
  }
  // After the arenas': a walk over one of them may allocate.
  if constexpr (kHard.guarded_slots != 0) slots_.lock();
  shards_.for_each_bin([](SlabBin<Os>& bin, std::uint8_t) { bin.lock(); });
  pool_.lock();
  metadata_.lock();
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::after_fork_in_parent() {
  metadata_.unlock();
  pool_.unlock();
  shards_.for_each_bin([](SlabBin<Os>& bin, std::uint8_t) { bin.unlock(); });
  if constexpr (kHard.guarded_slots != 0) slots_.unlock();
  const ArenaHooks* arenas = arena_hooks();
  const ProfileHooks* profile = profile_hooks();
  registry_.unlock();
  pool_.purging().unlock();
  if (profile != nullptr) profile->after_fork(false);
  if (arenas != nullptr) arenas->after_fork(false);
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::after_fork_in_child() {
  metadata_.reset_after_fork();
  pool_.reset_after_fork();
  if constexpr (kHard.guarded_slots != 0) slots_.reset_after_fork();
  if (const ArenaHooks* arenas = arena_hooks()) arenas->after_fork(true);
  if (const ProfileHooks* profile = profile_hooks()) profile->after_fork(true);
  shards_.for_each_bin([](SlabBin<Os>& bin, std::uint8_t) { bin.reset_after_fork(); });
  registry_.reset_after_fork();
  purger_.reset_after_fork();
}

}  // namespace carrel::core
