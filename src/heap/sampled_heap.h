// What a thread's calls do while its allocations are sampled for a heap profile.
//
// Basic design: the fast paths count nothing, and run as ever. But malloc pops from bins of their
// own (`bin_offsets` says where), and the thread's freed blocks go where they always do. So a bin
// that malloc pops from only gets less until it is filled anew, with no more blocks than may be
// allocated before the next sample of that size class: that is counted a batch at a time, where the
// batch is moved (CacheKeeper::refill_counted). When the count has run out and the bin is empty,
// the request that comes is the sampled one.
//
// A small block that is sampled comes from slabs of the profiler's own (kSampledBlock), whose
// blocks enter no cache, so that its free is seen; a large one is marked in its span.
#pragma once

#include "heap/heap.h"

namespace carrel::core {

/// Of no more than kMaxSlotBytes, for which the bin that malloc pops from was empty, or not asked.
template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::allocate_counted(std::size_t size) {
  const std::uint8_t id = guarded_class_for(size);
  ThreadCache* cache = own_cache();
  if (CARREL_UNLIKELY(!cache->attached) && (cache = attach_thread()) == nullptr) {
    return take_slot(id, size);
  }
  void* block = take_counted(*cache, id, size);
  return CARREL_LIKELY(block != nullptr) ? block : take_slot(id, size);
}

/// Null if this one is neither counted nor sampled.
template <Config C, OsLayer Os, class Tls>
CARREL_INLINE void* Heap<C, Os, Tls>::take_counted(ThreadCache& cache, std::uint8_t id,
                                                   std::size_t size) {
  const CacheBin& bin = cache.bins[id];
  CacheBin& ready = cache.bins[kReadyBins + id];
  if (bin.size() == 0) {
    keep_house(cache);
  } else {
    follow_profiling(cache);
  }
  SampleCounter* counter = cache.counter;
  if (CARREL_UNLIKELY(counter == nullptr || counter->sampling)) return nullptr;
  if (ready.size() != 0) return *--ready.top;  // a request of no bytes, or one with a budget
  std::uint64_t& left = counter->slots_left[id];
  if (CARREL_UNLIKELY(ready.capacity() == 0)) counter->draw_class(id);
  if (CARREL_UNLIKELY(left == 0)) return profile_hooks()->sample(*counter, size == 0 ? 1 : size);
  return keeper_.refill_counted(cache, id, left);
}

/// Begins or ends the sampling of the calling thread, whose cache this is, or changes its interval,
/// as is wanted. Without memory to count, its allocations are not sampled.
template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::follow_profiling(ThreadCache& cache) {
  if (CARREL_UNLIKELY(!profiling_.load(std::memory_order_acquire))) return leave_profiling(cache);
  if (CARREL_UNLIKELY(cache.counter == nullptr) && !begin_counting(cache)) return;
  if (CARREL_UNLIKELY(profile_hooks()->prepare(*cache.counter))) keeper_.drop_counted(cache);
}

template <Config C, OsLayer Os, class Tls>
bool Heap<C, Os, Tls>::begin_counting(ThreadCache& cache) {
  void* memory = metadata_.allocate(sizeof(SampleCounter));
  if (memory == nullptr) return false;
  cache.counter = ::new (memory) SampleCounter;
  return true;
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::leave_profiling(ThreadCache& cache) {
  SampleCounter* counter = cache.counter;
  if (counter == nullptr || counter->sampling) return;
  keeper_.drop_counted(cache);
  cache.counter = nullptr;
  metadata_.release(counter, sizeof(SampleCounter));
}

/// Large blocks pass here always: a thread that does not follow yet does so now.
template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::count_large_now(void* block, std::size_t size) {
  ThreadCache* cache = own_cache();
  if (!cache->attached && (cache = attach_thread()) == nullptr) return;
  follow_profiling(*cache);
  SampleCounter* counter = cache->counter;
  if (counter == nullptr || counter->sampling) return;
  counter->bytes_until_sample -= static_cast<std::int64_t>(counted_for_sampling(size));
  if (counter->bytes_until_sample >= 0) return;
  map_.span_of(block)->sampled = profile_hooks()->sample_large(*counter, block, size);
}

}  // namespace carrel::core
