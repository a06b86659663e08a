// What a thread's calls do while it has a budget (cache/budget.h).
//
// Basic design: where the thread looks for its cache stands another one, whose bins are all empty
// and full at once, like those of `empty_cache`. So every malloc and free leaves the fast path,
// which knows nothing of budgets, and is served from the thread's own cache behind the stand-in;
// large blocks leave it anyway. Here what a request would take is compared with the room that is
// left, and what it got is added to the account; a free takes it off again. Counted are whole slots
// and pages, so that a free knows what to take off.
//
// The program's functions may be called in between (shortage handlers, sample hooks) and begin or
// end budgets: the account is looked up anew each time.
#pragma once

#include "heap/heap.h"

namespace carrel::core {

/// The calling thread's account, or null without a budget.
template <Config C, OsLayer Os, class Tls>
BudgetAccount* Heap<C, Os, Tls>::budgets() {
  ThreadCache* stand_in = own_cache()->stand_in;
  return stand_in == nullptr || stand_in->budgets.innermost == nullptr ? nullptr
                                                                       : &stand_in->budgets;
}

/// What a live block counts for; nothing for what is none, or an arena's.
template <Config C, OsLayer Os, class Tls>
std::size_t Heap<C, Os, Tls>::counted_bytes(const void* block) {
  const std::uint8_t id = plain_class(map_.class_of(block));
  if (id - 1u < kClassCount) return kClasses[id].slot_bytes;
  if (id == kSampledBlock) return kClasses[map_.span_of(block)->size_class].slot_bytes;
  if constexpr (kHard.guarded_slots != 0) {
    if (id == kGuardedBlock) return kClasses[guarded_class_for(slots_.size_of(block))].slot_bytes;
  }
  if (id != kLargeBlock) return 0;
  check_large(block);
  return large_bytes(Large::size_of(map_.span_of(block)));
}

/// Whether `bytes` more fit into the thread's budgets; what does not, is tried again as often as
/// the program wants. `size` and `alignment` are for who is told.
template <Config C, OsLayer Os, class Tls>
bool Heap<C, Os, Tls>::fits_budgets(std::size_t bytes, std::size_t size, std::size_t alignment) {
  for (std::uint32_t attempt = 1;; ++attempt) {
    BudgetAccount* account = budgets();
    if (account == nullptr || account->has_room(bytes)) return true;
    ++account->innermost->refusals;
    if (!Tls::try_again(size, alignment, attempt)) return false;
  }
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::count_in_budgets(const void* block) {
  if (block == nullptr) return;
  if (BudgetAccount* account = budgets()) {
    account->add(static_cast<std::int64_t>(counted_bytes(block)));
  }
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::count_out_of_budgets(std::size_t bytes) {
  if (BudgetAccount* account = budgets()) account->add(-static_cast<std::int64_t>(bytes));
}

template <Config C, OsLayer Os, class Tls>
bool Heap<C, Os, Tls>::budgets_refuse(std::size_t size, std::size_t alignment) {
  const BudgetAccount* account = budgets();
  if (account == nullptr) return false;
  const bool large = size > kLargestSlotRequest || alignment > kMaxSlotBytes;
  const std::size_t bytes =
      large ? large_bytes(size) : kClasses[guarded_class_for(align_up(size, alignment))].slot_bytes;
  return !account->has_room(bytes);
}

/// A large block is about to become so many bytes larger, or smaller, without a new one.
template <Config C, OsLayer Os, class Tls>
bool Heap<C, Os, Tls>::may_resize(std::size_t old_bytes, std::size_t size) {
  const BudgetAccount* account = budgets();
  if (account == nullptr || size > kMaxRequestBytes) return true;
  const std::size_t bytes = large_bytes(size);
  return bytes <= old_bytes || account->has_room(bytes - old_bytes);
}

template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::allocate_in_budget(ThreadCache& stand_in, std::size_t size) {
  if (size > kLargestSlotRequest) return allocate_large(size, kSlotAlignment, false);
  const std::size_t bytes = kClasses[guarded_class_for(size)].slot_bytes;
  void* block = nullptr;
  if (CARREL_LIKELY(stand_in.budgets.has_room(bytes))) {
    block = kHard.check_frees ? allocate_missed(size) : take_behind(*stand_in.behind, size);
  } else if (fits_budgets(bytes, size, kSlotAlignment)) {
    block = allocate_missed(size);  // the handler may have ended the stand-in
  }
  if (CARREL_UNLIKELY(block == nullptr)) return nullptr;
  if (CARREL_LIKELY(Tls::cache() == &stand_in && stand_in.budgets.innermost != nullptr)) {
    stand_in.budgets.add(static_cast<std::int64_t>(bytes));
  }
  return block;
}

template <Config C, OsLayer Os, class Tls>
void* Heap<C, Os, Tls>::allocate_large_in_budget(std::size_t size, std::size_t alignment,
                                                 bool zero) {
  // What can never be is nobody's shortage.
  const bool possible = size <= kMaxRequestBytes && alignment <= kMaxRequestBytes;
  if (possible && !fits_budgets(large_bytes(size), size, alignment)) return nullptr;
  void* block = allocate_large_now(size, alignment, zero);
  count_in_budgets(block);
  return block;
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::free_in_budget(ThreadCache& stand_in, void* block) {
  stand_in.budgets.add(-static_cast<std::int64_t>(counted_bytes(block)));
  give_behind(*stand_in.behind, block);
}

/// A budget that begins now; null when memory is exhausted. `possible`: whether the calling thread
/// can have one, as one cannot that is on its way out.
template <Config C, OsLayer Os, class Tls>
Budget* Heap<C, Os, Tls>::begin_budget(std::uint64_t bytes, bool& possible) {
  ThreadCache* cache = own_cache();
  if (!cache->attached) cache = attach_thread();
  possible = cache != nullptr;
  if (!possible) return nullptr;
  auto* budget = static_cast<Budget*>(metadata_.allocate(sizeof(Budget)));
  if (budget == nullptr) return nullptr;
  if (cache->stand_in == nullptr && !put_stand_in(*cache)) {
    metadata_.release(budget, sizeof(Budget));
    return nullptr;
  }
  cache->stand_in->budgets.begin(*::new (budget) Budget, bytes);
  return budget;
}

/// With those within it; false for one that is none of the calling thread's.
template <Config C, OsLayer Os, class Tls>
bool Heap<C, Os, Tls>::end_budget(const Budget* budget) {
  ThreadCache* cache = own_cache();
  if (cache->stand_in == nullptr || !cache->stand_in->budgets.has(budget)) return false;
  BudgetAccount& account = cache->stand_in->budgets;
  const Budget* ended = nullptr;
  do {
    ended = account.end();
    metadata_.release(const_cast<Budget*>(ended), sizeof(Budget));
  } while (ended != budget);
  if (account.innermost == nullptr) take_stand_in_away(*cache);
  return true;
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::end_budgets(ThreadCache& cache) {
  if (cache.stand_in == nullptr) return;
  BudgetAccount& account = cache.stand_in->budgets;
  while (account.innermost != nullptr) metadata_.release(account.end(), sizeof(Budget));
  take_stand_in_away(cache);
}

/// Has another cache stand in for that of the calling thread; false without memory for it.
template <Config C, OsLayer Os, class Tls>
bool Heap<C, Os, Tls>::put_stand_in(ThreadCache& cache) {
  if (Tls::cache() != &cache) return false;
  void* memory = metadata_.allocate(sizeof(ThreadCache));
  if (memory == nullptr) return false;
  auto* stand_in = ::new (memory) ThreadCache;
  stand_in->behind = &cache;
  cache.stand_in = stand_in;
  Tls::use_cache(stand_in);
  return true;
}

template <Config C, OsLayer Os, class Tls>
void Heap<C, Os, Tls>::take_stand_in_away(ThreadCache& cache) {
  ThreadCache* stand_in = cache.stand_in;
  if (Tls::cache() == stand_in) Tls::use_cache(&cache);
  cache.stand_in = nullptr;
  metadata_.release(stand_in, sizeof(ThreadCache));
}

/// From the calling thread's own cache, as malloc without a stand-in.
template <Config C, OsLayer Os, class Tls>
CARREL_INLINE void* Heap<C, Os, Tls>::take_behind(ThreadCache& cache, std::size_t size) {
  const std::size_t step = (size - 1) / kSlotAlignment;  // huge for size 0
  if (CARREL_LIKELY(step < BinOffsets::kCount)) {
    CacheBin& bin =
        *reinterpret_cast<CacheBin*>(reinterpret_cast<char*>(&cache) + bin_offsets.at(step));
    if (CARREL_LIKELY(bin.top != bin.floor)) return *--bin.top;
  }
  return allocate_missed(size);
}

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

}  // namespace carrel::core
