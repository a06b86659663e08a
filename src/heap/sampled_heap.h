// What a thread's calls do while its allocations are sampled for a heap profile.
//
// Basic design: where the thread looks for its cache stands another one, whose bins are all empty
// and full at once, like those of `empty_cache`. So its calls leave the fast path, which knows
// nothing of profiles; here each request counts the bytes down to the next sample, and is served
// from the thread's own cache behind the stand-in. A small block that is sampled comes from slabs
// of the profiler's own (kSampledBlock), whose blocks enter no cache, so that its free is seen; a
// large one is marked in its span.
//
// A thread follows the switch when it passes a slow path (keep_house, a large block).
#pragma once

#include "heap/heap.h"

namespace carrel::core {

template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::allocate_counted(ThreadCache& stand_in, std::size_t size) {
  if (CARREL_UNLIKELY(stand_in.budgets.innermost != nullptr)) {
    return allocate_in_budget(stand_in, size);
  }
  return take_counted(stand_in, size);
}

template <Config C, OsLayer Os, class Tls>
CARREL_INLINE void* Heap<C, Os, Tls>::take_counted(ThreadCache& stand_in, std::size_t size) {
  const std::size_t step = (size - 1) / kSlotAlignment;  // huge for size 0
  if (CARREL_LIKELY(step < BinOffsets::kCount)) {
    stand_in.bytes_until_sample -= static_cast<std::int64_t>(size);
    if (CARREL_UNLIKELY(stand_in.bytes_until_sample < 0)) return allocate_sampled(stand_in, size);
    char* cache = reinterpret_cast<char*>(stand_in.behind);
    CacheBin& bin = *reinterpret_cast<CacheBin*>(cache + kBinOffsets.offset[step]);
    if (CARREL_LIKELY(bin.top != bin.floor)) return *--bin.top;
    return allocate_missed(size);
  }
  if (size == 0) return take_counted_byte(stand_in);
  return allocate_large(size, kSlotAlignment, false);  // which counts by itself
}

template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::allocate_sampled(ThreadCache& stand_in, std::size_t size) {
  if (!profiling_.load(std::memory_order_acquire)) {
    follow_profiling(*stand_in.behind);
  } else {
    void* block = profile_hooks()->sample(stand_in, size);
    if (block != nullptr) return block;
  }
  return allocate_missed(size);
}

/// A request of no bytes.
template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::take_counted_byte(ThreadCache& stand_in) {
  return take_counted(stand_in, 1);
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::free_counted(ThreadCache& stand_in, void* block) {
  if (CARREL_UNLIKELY(stand_in.budgets.innermost != nullptr)) {
    return free_in_budget(stand_in, block);
  }
  give_behind(*stand_in.behind, block);
}

/// `cache` is the thread's own.
template <Config C, OsLayer Os, class Tls>
CARREL_INLINE void Heap<C, Os, Tls>::give_behind(ThreadCache& cache, void* block) {
  if constexpr (kHard.check_frees) return free_missed(block);  // as it does without a stand-in
  const std::size_t index = map_.index_of(block);
  if (CARREL_LIKELY(index < map_.granule_count())) {
    CacheBin& bin = cache.bin_for(map_.class_at(index));
    if (CARREL_LIKELY(bin.top != bin.ceiling)) {
      *bin.top++ = block;
      return;
    }
  }
  free_missed(block);
}

/// Has another cache stand in for that of the calling thread; false without memory for it.
template <Config C, OsLayer Os, class Tls>
bool Heap<C, Os, Tls>::put_stand_in(ThreadCache& cache) {
  if (Tls::cache() != &cache) return false;
  void* memory = metadata_.allocate(sizeof(ThreadCache));
  if (memory == nullptr) return false;
  auto* stand_in = ::new (memory) ThreadCache;
  stand_in->behind = &cache;
  stand_in->bytes_until_sample = kNeverSampled;
  cache.stand_in = stand_in;
  Tls::use_cache(stand_in);
  return true;
}

/// Begins or ends the sampling of the calling thread, whose cache this is, or changes its interval,
/// as is wanted. Without memory for a stand-in, its allocations are not sampled.
template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::follow_profiling(ThreadCache& cache) {
  if (!profiling_.load(std::memory_order_acquire)) return leave_profiling(cache);
  if (cache.stand_in == nullptr && !put_stand_in(cache)) return;
  profile_hooks()->prepare(*cache.stand_in);
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::leave_profiling(ThreadCache& cache) {
  ThreadCache* stand_in = cache.stand_in;
  if (stand_in == nullptr || stand_in->sampling) return;
  if (stand_in->budgets.innermost != nullptr) {
    stand_in->bytes_until_sample = kNeverSampled;
    stand_in->sample_mean = 0;  // so that it is drawn anew, should profiling begin again
    return;
  }
  if (Tls::cache() == stand_in) Tls::use_cache(&cache);
  cache.stand_in = nullptr;
  metadata_.release(stand_in, sizeof(ThreadCache));
}

/// Large blocks pass here always: a thread that does not follow yet does so now.
template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::count_large_now(void* block, std::size_t size) {
  ThreadCache* cache = Tls::cache();
  if (cache->behind == nullptr) {
    if (!cache->attached && (cache = attach_thread()) == nullptr) return;
    follow_profiling(*cache);
    cache = cache->stand_in;
    if (cache == nullptr) return;
  } else {
    profile_hooks()->prepare(*cache);
  }
  cache->bytes_until_sample -= static_cast<std::int64_t>(size);
  if (cache->bytes_until_sample >= 0) return;
  map_.span_of(block)->sampled = profile_hooks()->sample_large(*cache, block, size);
}

}  // namespace carrel::core
