// What a hardened build does in place of the heap's own paths: each slot passes the guard when it
// is handed out and when it comes back, and freed ones wait in quarantine.
//
//   malloc(size)                             free(block)
//   |- up to 120 bytes:                      |- class map says how
//   |  |- slot of size and canary            |- up to 128 bytes, or free_long:
//   |  |- thread's ready bin: pop            |  |- guard: judge, check canaries, zero
//   |  `- guard: still zero? mark, canary    |  `- thread's waiting bin: push
//   |- long_malloc: the same                 |- waiting bin full:
//   `- bin empty or size large: as heap.h    |     a random half moves to the ready bin
//                                            `- no slot of ours: as heap.h
//
// Nothing here is instantiated in the default build.
#pragma once

#include "heap/heap.h"

namespace carrel::core {

/// Class of a slot of 16 * i + 1 to 16 * i + 16 bytes.
struct StepClasses {
  static constexpr std::size_t kCount = kMaxSlotBytes / kSlotAlignment;
  std::uint8_t id[kCount];

  constexpr StepClasses() : id() {
    for (std::size_t i = 0; i < kCount; ++i) id[i] = size_class_for(16 * i + 16);
  }
};
inline constexpr StepClasses kStepClasses;

template <Config C, OsLayer Os, class Tls>
template <void* (*slow)(std::size_t)>
CARREL_INLINE void* Heap<C, Os, Tls>::guarded_malloc(std::size_t size) requires(
    C.hardening.check_frees) {
  if (CARREL_UNLIKELY(size > SlotGuard<Os>::kLargestShortRequest)) return long_malloc<slow>(size);
  const std::size_t slot_bytes = SlotGuard<Os>::short_slot_for(size);
  CacheBin& bin =
      Tls::cache()
          ->bins[bin_to_pop<kHard>(static_cast<std::uint32_t>(slot_bytes / kSlotAlignment))];
  void** top = bin.top;
  if (CARREL_LIKELY(top != bin.floor)) {
    bin.top = top - 1;
    return guard_.hand_out_short(map_, top[-1], slot_bytes, size);
  }
  return slow(size);
}

template <Config C, OsLayer Os, class Tls>
template <void* (*slow)(std::size_t)>
CARREL_NOINLINE void* Heap<C, Os, Tls>::long_malloc(std::size_t size) requires(
    C.hardening.check_frees) {
  const std::size_t step = (size + kHard.canary_bytes - 1) / kSlotAlignment;
  if (CARREL_LIKELY(size <= kLargestSlotRequest)) {
    const std::uint8_t id = kStepClasses.id[step];
    CacheBin& bin = Tls::cache()->bins[bin_to_pop<kHard>(id)];
    void** top = bin.top;
    if (CARREL_LIKELY(top != bin.floor)) {
      bin.top = top - 1;
      return guard_.hand_out(map_, top[-1], id, size);
    }
  }
  return slow(size);
}

template <Config C, OsLayer Os, class Tls>
CARREL_INLINE void Heap<C, Os, Tls>::guarded_free(void* block) requires(C.hardening.check_frees) {
  const std::size_t unit = map_.unit_of(block);
  const std::size_t index = unit >> PageMap<Os>::kUnitShift;
  if (CARREL_LIKELY(index < map_.granule_count())) {
    const std::uint32_t value = map_.class_at(index);
    const std::uint32_t id = value & (0xFFu & ~kGroupBits);  // wide: or it is extended again
    if (CARREL_LIKELY(SlotGuard<Os>::is_short(id))) {
      guard_.take_back_short(map_, unit, block, id);
      return give_slot(block, value);
    }
    if (CARREL_LIKELY(id - 1u < kClassCount)) return free_long(block, value, id);
  }
  free_slow(block);
}

/// Puts a free slot into the thread's bin, where it waits.
template <Config C, OsLayer Os, class Tls>
CARREL_INLINE void Heap<C, Os, Tls>::give_slot(void* block, std::uint32_t value) requires(
    C.hardening.check_frees) {
  CacheBin& bin = Tls::cache()->bin_for(value);
  void** top = bin.top;
  if (CARREL_LIKELY(top != bin.ceiling)) {
    *top = block;
    bin.top = top + 1;
    return;
  }
  push_full_bin(block, value);
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::free_long(void* block, std::uint32_t value,
                                 std::uint32_t class_id) requires(C.hardening.check_frees) {
  const auto id = static_cast<std::uint8_t>(class_id);
  guard_.take_back(map_, block, id);
  guard_.clear(block, id);
  give_slot(block, value);
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::push_full_bin(void* block,
                                     std::uint32_t map_value) requires(C.hardening.check_frees) {
  const auto value = static_cast<std::uint8_t>(map_value);
  if constexpr (kHard.quarantine_bytes != 0) {
    if (CARREL_LIKELY(keeper_.let_go(*Tls::cache(), value, block))) return;
  }
  if (CARREL_UNLIKELY(Tls::cache()->behind != nullptr)) return push_behind(block, value);
  push_slow(block, value);
}

/// Where another cache stands in for the thread's.
template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::push_behind(void* block,
                                   std::uint8_t map_value) requires(C.hardening.check_frees) {
  count_out_of_budgets(kClasses[plain_class(map_value)].slot_bytes);
  ThreadCache& cache = *own_cache();
  CacheBin& bin = cache.bin_for(map_value);
  if (bin.top != bin.ceiling) {
    *bin.top++ = block;
    return;
  }
  if constexpr (kHard.quarantine_bytes != 0) {
    if (keeper_.let_go(cache, map_value, block)) return;
  }
  push_slow(block, map_value);
}

/// A block of a class that the caller has chosen.
template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::allocate_class(std::uint8_t id, std::size_t size,
                                       std::size_t alignment) requires(C.hardening.check_frees) {
  CacheBin& bin = Tls::cache()->bins[bin_to_pop<kHard>(id)];
  if (CARREL_UNLIKELY(bin.top == bin.floor)) return allocate_class_slow(id, size, alignment);
  return guard_.hand_out_loose(map_, *--bin.top, id, size);
}

template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::allocate_class_slow(
    std::uint8_t id, std::size_t size, std::size_t alignment) requires(C.hardening.check_frees) {
  const bool counted = Tls::cache()->behind != nullptr;
  if (counted && !fits_budgets(kClasses[id].slot_bytes, size, alignment)) return nullptr;
  void* block = sample_guarded(id, size, alignment);
  if (block == nullptr) {
    block = take_slot(id, size);
    if (block != nullptr) block = guard_.hand_out_loose(map_, block, id, size);
  }
  if (counted) count_in_budgets(block);
  return block;
}

template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::guarded_zero_allocate(std::size_t size) requires(C.hardening.check_frees) {
  if (size <= SlotGuard<Os>::kLargestShortRequest && SlotGuard<Os>::reads_as_zero(1)) {
    return guarded_malloc<plain_slow>(size);
  }
  if (size > kLargestSlotRequest) return allocate_large(size, kSlotAlignment, true);
  const std::uint8_t id = guarded_class_for(size);
  void* block = allocate_class(id, size, kSlotAlignment);
  if (block != nullptr && !guard_.reads_as_zero(id)) memset(block, 0, size);
  return block;
}

template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::guarded_aligned_allocate(std::size_t alignment, std::size_t size) requires(
    C.hardening.check_frees) {
  if (size > kLargestSlotRequest || alignment > kMaxSlotBytes) {
    return allocate_large(size == 0 ? 1 : size, alignment, false);
  }
  const std::size_t bytes = size + kHard.canary_bytes;
  return allocate_class(size_class_for(align_up(bytes == 0 ? 1 : bytes, alignment)), size,
                        alignment);
}

/// A block between guard pages, where the thread's count of blocks has come to one: its bin of this
/// class then has a raised floor, to which it was emptied. Else, or if there is no room, null.
template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::sample_guarded(std::uint8_t id, std::size_t size,
                                       std::size_t alignment) requires(C.hardening.check_frees) {
  if constexpr (kHard.guarded_slots == 0) return nullptr;
  ThreadCache& cache = *own_cache();
  const std::uint32_t index = bin_to_pop<kHard>(id);
  if (CARREL_LIKELY(cache.raised_bin != index)) return nullptr;
  if (cache.bins[index].top != cache.bins[index].floor) return nullptr;
  return sample_guarded_now(cache, size, alignment);
}

template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::sample_guarded_now(
    ThreadCache& cache, std::size_t size, std::size_t alignment) requires(C.hardening.check_frees) {
  const std::uint32_t index = cache.raised_bin;
  void* block = nullptr;
  const std::uint64_t mean = options_.guard_sample;
  if constexpr (kHard.guarded_slots != 0) {
    // Not what the unwinder allocates meanwhile, nor a thread's first blocks, for which nothing was
    // drawn yet.
    if (mean != 0 && cache.counts_guarded && !cache.takes_guarded) {
      watch_faults();
      cache.takes_guarded = true;
      block = slots_.allocate(size, alignment);
      cache.takes_guarded = false;
    }
  }
  cache.counts_guarded = true;
  const std::int64_t left =
      mean == 0 ? INT64_MAX / 2 : static_cast<std::int64_t>(cache.random.word() % (2 * mean - 1));
  keeper_.count_from(cache, index, left);
  return block;
}

/// What happens at a fence can be said from now on, once and for all.
template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::watch_faults() {
  if (CARREL_LIKELY(watching_.load(std::memory_order_relaxed))) return;
  if (options_.explain_faults != 0 && !watching_.exchange(true, std::memory_order_relaxed)) {
    Os::watch_faults(Tls::memory_fault);
  }
}

/// Changes a block's size in place if that is possible and keeps little for nothing.
template <Config C, OsLayer Os, class Tls>
bool Heap<C, Os, Tls>::resize_guarded(void* block, std::uint8_t id,
                                      std::size_t size) requires(C.hardening.check_frees) {
  if (id == kLargeBlock) {
    check_large(block);
    return size > kLargestSlotRequest &&
           resize_in_budget(block, size, [&] { return large_.resize_in_place(block, size); });
  }
  if (CARREL_UNLIKELY(id == kNotOurs)) report_misuse(block);
  if constexpr (kHard.guarded_slots != 0) {
    if (id == kGuardedBlock) return size == slots_.size_of(block);
  }
  if (size > kLargestSlotRequest || !guard_.fits(id, size) || size <= kClasses[id].slot_bytes / 2) {
    return false;
  }
  guard_.resize(map_, block, id, size);
  return true;
}

/// Makes a block shorter in place, however much that keeps for nothing.
template <Config C, OsLayer Os, class Tls>
bool Heap<C, Os, Tls>::shrink_guarded(void* block, std::uint8_t id,
                                      std::size_t size) requires(C.hardening.check_frees) {
  if (size == 0) size = 1;
  if constexpr (kHard.guarded_slots != 0) {
    if (id == kGuardedBlock) {
      count_out_of_budgets(counted_bytes(block));
      slots_.shrink(block, size);
      count_in_budgets(block);
      return true;
    }
  }
  if (id != kLargeBlock) {
    guard_.shrink(map_, block, id, size);
    return true;
  }
  if constexpr (kHard.guard_large) {
    return resize_in_budget(block, size, [&] { return large_.shrink_in_place(block, size); });
  }
  return true;
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::check_size_now(const void* block, std::size_t size) const
    requires(C.hardening.check_frees) {
  const std::uint8_t id = plain_class(map_.class_of(block));
  if constexpr (kHard.guarded_slots != 0) {
    if (CARREL_UNLIKELY(id == kGuardedBlock)) return slots_.check_size(block, size);
  }
  if (CARREL_LIKELY(id - 1u < kClassCount)) {
    guard_.check_size(map_, block, id, size);
  } else if (id == kLargeBlock && address_of(block) % kGranuleBytes == 0) {
    const std::size_t is = Large::size_of(map_.span_of(block));
    // A block of no bytes that is aligned to more than a slot can be has one.
    const bool right = is == size || (is == 1 && size == 0);
    if (kHard.guard_large && !right) Report<Os>::size_mismatch(block, size, is);
  }
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::check_alignment_now(const void* block, std::size_t alignment) const
    requires(C.hardening.check_frees) {
  if (block != nullptr && (!is_power_of_two(alignment) || address_of(block) % alignment != 0)) {
    Report<Os>::alignment_mismatch(block, alignment);
  }
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::prepare_hardening() {
  context_.seed = Os::random_word();
  if constexpr (kHard.check_frees) guard_.initialize();
  if constexpr (kHard.guard_large) large_.initialize(Os::random_word());
  if constexpr (kHard.guarded_slots != 0) slots_.initialize(Os::random_word());
}

}  // namespace carrel::core
