// A slab bin: all slabs of one size class in one shard, and the lock that guards them.
//
// Basic design: threads meet here only when a cache runs empty or full, in batches. A
// batch is taken from the fullest slab that has room, so that the others can become
// empty and go back to the pool. Slabs belong to the bin, never to a thread: what a
// thread gave back, every other thread of the shard can have at once, whether the giver
// is running, asleep or gone.
//
// The lock is held for bit operations only: nothing under it calls the system or touches
// a user's page. Rank 3, ordered by shard, then class.
#pragma once

#include "base/intrusive_list.h"
#include "mem/lending.h"
#include "os/mutex.h"
#include "slab/random_slots.h"

namespace carrel::core {

/// What slab bins share.
template <OsLayer Os>
struct SlabContext {
  PageMap<Os>& map;
  MetadataArena<Os>& metadata;
  SpanPool<Os>& pool;
  std::atomic<std::uint32_t> tick{0};              // coarse time, for telling which slabs are cold
  std::atomic<std::size_t> holes_purged_bytes{0};  // a statistic, orders nothing
  std::uint64_t seed = 0;                          // of a hardened build's random choices
};

/// A bin's numbers at one moment.
struct BinTotals {
  std::size_t slabs = 0;
  std::size_t used_slots = 0;  // in programs' hands or in thread caches
  // Since the start:
  std::uint64_t refills = 0;  // batches taken
  std::uint64_t flushes = 0;  // batches given back
  std::uint64_t taken_slots = 0;
  std::uint64_t remote_slots = 0;  // given back by threads of other shards
  std::uint32_t contended = 0;     // batches that had to wait for the lock
};

template <OsLayer Os>
class alignas(64) SlabBin {
 public:
  void initialize(std::uint8_t size_class, std::uint32_t shard) {
    size_class_ = size_class;
    shard_ = static_cast<std::uint16_t>(shard);
  }

  /// Takes 1 to `want` free slots, writing them from `end` downwards, lowest address
  /// nearest `end`. Returns how many: 0 only when memory is exhausted.
  std::uint32_t take(SlabContext<Os>& context, void** end, std::uint32_t want) {
    const ClassInfo& info = kClasses[size_class_];
    const std::uint32_t tick = context.tick.load(std::memory_order_relaxed);
    std::uint32_t taken = 0;
    lock_.lock_counting(contended_);
    for (;;) {
      while (taken < want && nonempty_ != 0) {
        Span* slab = lists_[std::countr_zero(nonempty_)].front();
        char* base = context.map.address(slab->first);
        if constexpr (kHard.random_slots) {
          if (!random_.seeded()) random_.seed(context.seed, size_class_ + 64u * shard_);
          taken += take_random_slots(slab, base, info, end - taken, want - taken, random_);
        } else {
          taken += take_slots(slab, base, info, end - taken, want - taken);
        }
        slab->last_use_tick = tick;
        refile(slab, info);
      }
      if (taken > 0) break;
      const bool growing = slabs_ >= kGrowingSlabs;
      lock_.unlock();
      Span* slab = new_slab(context, growing);
      if (slab == nullptr) return 0;
      lock_.lock();
      ++slabs_;
      file(slab, fullness_of(slab->free_slots, info));
    }
    used_slots_ += taken;
    taken_slots_ += taken;
    ++refills_;
    lock_.unlock();
    return taken;
  }

  /// Takes back those of `count` blocks that are this bin's; moves the others to the front
  /// of `blocks` and returns how many they are. `from` is the giving thread's shard.
  std::uint32_t give(SlabContext<Os>& context, void** blocks, std::uint32_t count,
                     std::uint32_t from) {
    const ClassInfo& info = kClasses[size_class_];
    const std::uint32_t tick = context.tick.load(std::memory_order_relaxed);
    Span* empties = nullptr;
    std::uint32_t kept = 0;
    lock_.lock_counting(contended_);
    for (std::uint32_t i = 0; i < count;) {
      Span* slab = context.map.span_of(blocks[i]);
      if (slab->shard != shard_ || slab->size_class != size_class_ ||
          slab->state != SpanState::kSlab) {
        blocks[kept++] = blocks[i++];
        continue;
      }
      i += give_slots<Os>(slab, context.map.address(slab->first), info, blocks + i, count - i);
      slab->last_use_tick = tick;
      slab->holes_purged = false;
      refile(slab, info);
      if (slab->free_slots == info.slots) empties = retire_surplus(context, slab, empties);
    }
    used_slots_ -= count - kept;
    if (from != shard_) remote_slots_ += count - kept;
    ++flushes_;
    lock_.unlock();
    release_all(context, empties);
    return kept;
  }

  /// If `slab` is this bin's and has not been used for `age` ticks: gives it back to the
  /// pool if it is empty, else purges the whole pages in which every slot is free. Meanwhile
  /// those slots count as taken. Returns the bytes given back.
  CARREL_COLD std::size_t purge_cold(SlabContext<Os>& context, Span* slab, std::uint32_t age) {
    const ClassInfo& info = kClasses[size_class_];
    std::uint64_t held[kMaxWords];
    lock_.lock();
    if (slab->fullness == kInNoList || slab->state != SpanState::kSlab || slab->shard != shard_ ||
        slab->size_class != size_class_ || slab->holes_purged ||
        context.tick.load(std::memory_order_relaxed) - slab->last_use_tick < age) {
      lock_.unlock();
      return 0;
    }
    if (slab->free_slots == info.slots && !stays_in_class(context)) {
      unfile(slab);
      --slabs_;
      lock_.unlock();
      slab->next = nullptr;
      release_all(context, slab);
      return 0;  // the pool's own purge counts them
    }
    slab->holes_purged = true;
    const std::uint32_t slots_held = hold_whole_pages(slab, info, held);
    if (slots_held != 0) refile(slab, info);
    lock_.unlock();
    if (slots_held == 0) return 0;
    // A slab whose slots are all held is in no list, and nobody can take it away.

    std::size_t purged = purge_held(context, slab, info, held);
    if constexpr (kHard.check_frees) {
      // Nothing in it is in use, and all of it reads as zero: as if never used.
      const std::size_t slab_bytes = std::size_t{info.granules} << kGranuleShift;
      if (slots_held == info.slots && purged == slab_bytes) {
        context.map.purge_records(slab->first, slab->count);
      }
    }
    context.holes_purged_bytes.fetch_add(purged, std::memory_order_relaxed);

    lock_.lock();
    for (std::uint32_t word = 0; word < info.bit_words; ++word) {
      const std::uint64_t freed_meanwhile = slab->free_bits[word] & held[word];
      if (CARREL_UNLIKELY(freed_meanwhile != 0)) {
        const std::size_t slot =
            word * 64u + static_cast<unsigned>(std::countr_zero(freed_meanwhile));
        Report<Os>::double_free(context.map.address(slab->first) + slot * info.slot_bytes);
      }
      slab->free_bits[word] |= held[word];
    }
    slab->free_slots += slots_held;
    refile(slab, info);
    Span* empties = nullptr;
    if (slab->free_slots == info.slots) empties = retire_surplus(context, slab, empties);
    lock_.unlock();
    release_all(context, empties);
    return purged;
  }

  /// Gives entirely free slabs back to the pool; for when memory is short.
  CARREL_COLD void release_empty(SlabContext<Os>& context) {
    Span* empties = nullptr;
    {
      LockGuard guard(lock_);
      IntrusiveList<Span>& list = lists_[kFullnessLists - 1];
      while (Span* slab = list.front()) {
        unfile(slab);
        --slabs_;
        slab->next = empties;
        empties = slab;
      }
    }
    release_all(context, empties);
  }

  BinTotals totals() {
    LockGuard guard(lock_);
    return {.slabs = slabs_,
            .used_slots = used_slots_,
            .refills = refills_,
            .flushes = flushes_,
            .taken_slots = taken_slots_,
            .remote_slots = remote_slots_,
            .contended = contended_};
  }

  void lock() { lock_.lock(); }
  void unlock() { lock_.unlock(); }
  void reset_after_fork() { lock_.reset_after_fork(); }

 private:
  friend struct HeapLayoutTable;  // says where these are: api/heap_layout.cc
  static constexpr std::uint32_t kMaxWords = static_cast<std::uint32_t>(kGranuleBytes / 16 / 64);

  static constexpr Hardening kHard = hardening_of<Os>();

  /// Whether slabs are never given back to the pool for other uses. Where mappings are made one
  /// by one, address space is short, and they are.
  static bool stays_in_class(const SlabContext<Os>& context) {
    return kHard.isolate_classes && context.map.reserved_at_once();
  }

  /// Of so many slabs a further one is likely to be filled with blocks that are written soon, if
  /// they are small: its pages are made resident by one call instead of a fault for each.
  static constexpr std::uint32_t kGrowingSlabs = 8;
  static constexpr std::uint32_t kSmallSlotBytes = 1 * kKiB;

  Span* new_slab(SlabContext<Os>& context, bool growing) {
    const ClassInfo& info = kClasses[size_class_];
    Span* slab = context.pool.allocate(info.granules, 1, SpanState::kSlab);
    if (slab == nullptr) return nullptr;
    if constexpr (kHard.zero_freed) {
      context.pool.zero(slab, std::size_t{info.granules} << kGranuleShift);
    }
    if (!make_slab(slab, size_class_, shard_, context.metadata)) {
      context.pool.release(slab);
      return nullptr;
    }
    if (growing && info.slot_bytes <= kSmallSlotBytes && !context.pool.memory_is_short() &&
        context.map.granule(slab->first).touched_tick == 0) {
      Os::populate(context.map.address(slab->first), kGranuleBytes);
    }
    slab->last_use_tick = context.tick.load(std::memory_order_relaxed);
    const std::uint8_t value = class_map_value(size_class_, shard_);
    for (std::uint32_t i = 0; i < info.granules; ++i) {
      context.map.granule(slab->first + i).span = slab;
      context.map.set_class(slab->first + i, value);
    }
    return slab;
  }

  static void release_all(SlabContext<Os>& context, Span* slabs) {
    while (slabs != nullptr) {
      Span* next = slabs->next;
      for (std::uint32_t i = 0; i < slabs->count; ++i) {
        context.map.set_class(slabs->first + i, kNotOurs);
      }
      if constexpr (kHard.check_frees) context.map.clear_records(slabs->first, slabs->count);
      unmake_slab(slabs, context.metadata);
      context.pool.release(slabs);
      slabs = next;
    }
  }

  /// An empty slab stays if it is the only one: the next batch is likely to want it.
  Span* retire_surplus(const SlabContext<Os>& context, Span* slab, Span* empties) {
    if (stays_in_class(context)) return empties;
    IntrusiveList<Span>& list = lists_[kFullnessLists - 1];
    if (list.front() == slab && slab->next == nullptr) return empties;
    unfile(slab);
    --slabs_;
    slab->next = empties;
    return slab;
  }

  void file(Span* slab, std::uint8_t fullness) {
    lists_[fullness].push_front(slab);
    nonempty_ |= 1u << fullness;
    slab->fullness = fullness;
  }

  void unfile(Span* slab) {
    const std::uint8_t fullness = slab->fullness;
    lists_[fullness].remove(slab);
    if (lists_[fullness].empty()) nonempty_ &= ~(1u << fullness);
    slab->fullness = kInNoList;
  }

  /// Moves a slab to the list that fits its free slots; a full one is in none.
  void refile(Span* slab, const ClassInfo& info) {
    const std::uint8_t fullness =
        slab->free_slots == 0 ? kInNoList : fullness_of(slab->free_slots, info);
    if (fullness == slab->fullness) return;
    if (slab->fullness != kInNoList) unfile(slab);
    if (fullness != kInNoList) file(slab, fullness);
  }

  /// Marks as taken, in the slab and in `held`, every slot that only touches whole free
  /// pages; returns how many.
  std::uint32_t hold_whole_pages(Span* slab, const ClassInfo& info, std::uint64_t* held) {
    for (std::uint32_t word = 0; word < info.bit_words; ++word) held[word] = 0;
    std::uint32_t total = 0;
    for_each_free_run(slab->free_bits, info, [&](std::uint32_t first, std::uint32_t count) {
      const std::size_t start = align_up(std::size_t{first} * info.slot_bytes, Os::page_bytes());
      const std::size_t end =
          align_down(std::size_t{first + count} * info.slot_bytes, Os::page_bytes());
      if (start >= end) return;
      // The slots that overlap these pages, all inside the run.
      const std::uint32_t from = slot_index(info, start);
      const std::uint32_t to = slot_index(info, end - 1) + 1;
      for (std::uint32_t slot = from; slot < to; ++slot) {
        held[slot / 64] |= std::uint64_t{1} << (slot % 64);
      }
      total += to - from;
    });
    for (std::uint32_t word = 0; word < info.bit_words; ++word) {
      slab->free_bits[word] &= ~held[word];
    }
    slab->free_slots -= total;
    return total;
  }

  /// Gives back the whole pages inside runs of held slots.
  std::size_t purge_held(SlabContext<Os>& context, Span* slab, const ClassInfo& info,
                         const std::uint64_t* held) {
    char* base = context.map.address(slab->first);
    std::size_t purged = 0;
    for_each_free_run(held, info, [&](std::uint32_t first, std::uint32_t count) {
      const std::size_t start = align_up(std::size_t{first} * info.slot_bytes, Os::page_bytes());
      const std::size_t end =
          align_down(std::size_t{first + count} * info.slot_bytes, Os::page_bytes());
      if (start >= end) return;
      context.pool.keep_huge_pages_apart(base + start, end - start);
      if (Os::purge(base + start, end - start)) purged += end - start;
    });
    return purged;
  }

  /// Calls visit(first, count) for each run of set bits.
  template <class Visit>
  static void for_each_free_run(const std::uint64_t* bits, const ClassInfo& info, Visit visit) {
    std::uint32_t slot = 0;
    while (slot < info.slots) {
      const std::uint32_t first = next_bit(bits, info, slot, true);
      if (first >= info.slots) return;
      slot = next_bit(bits, info, first, false);
      visit(first, slot - first);
    }
  }

  /// The first slot from `slot` on whose bit is `set`; info.slots if there is none.
  static std::uint32_t next_bit(const std::uint64_t* bits, const ClassInfo& info,
                                std::uint32_t slot, bool set) {
    while (slot < info.slots) {
      std::uint64_t word = set ? bits[slot / 64] : ~bits[slot / 64];
      word >>= slot % 64;
      if (word != 0) {
        slot += static_cast<std::uint32_t>(std::countr_zero(word));
        return slot < info.slots ? slot : info.slots;
      }
      slot = (slot / 64 + 1) * 64;
    }
    return info.slots;
  }

  Mutex<Os> lock_;  // guards everything below and the bin's slabs
  Relaxed<std::uint8_t> size_class_ = 0;
  Relaxed<std::uint16_t> shard_ = 0;
  std::uint32_t nonempty_ = 0;                 // which lists have slabs
  IntrusiveList<Span> lists_[kFullnessLists];  // by fullness_of
  std::uint32_t slabs_ = 0;
  std::uint32_t contended_ = 0;  // this and what follows: statistics
  std::size_t used_slots_ = 0;
  std::uint64_t refills_ = 0;
  std::uint64_t flushes_ = 0;
  std::uint64_t taken_slots_ = 0;
  std::uint64_t remote_slots_ = 0;
  struct NotRandom {};
  [[no_unique_address]] std::conditional_t<kHard.random_slots, RandomSource, NotRandom> random_;
};

}  // namespace carrel::core
