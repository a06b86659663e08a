// A thread's cache: per size class a stack of pointers to free blocks.
//
// Basic design: a bin is an array in metadata; malloc pops, free pushes, and neither locks
// nor writes to the block. Bins start empty, get a small array at their first miss and a
// larger one at each further miss, up to a limit in bytes: half of it as long as blocks only come
// or only go, as between a producer and a consumer, where cached blocks serve nobody. A full bin
// gives its older half back in one batch. Bins that saw no traffic between two looks are given
// back whole.
//
// Blocks of less than a cache line that came from another group of shards (see
// slab/size_class.h) are pushed to bins of their own, from which malloc does not pop. In a hardened
// build malloc does not pop from the bins of the thread's own blocks either: there they wait, and
// move on to other bins later (cache/quarantine.h); nor while the thread's allocations are sampled
// (refill_counted).
//
// A cache belongs to one thread; only that thread touches it, except that statistics read
// its bins without a lock. `empty_cache` below serves threads that have none yet or any
// more: every bin of it is empty and full at once, so that all its traffic leaves the fast
// path without a further branch there.
#pragma once

#include <cstring>

#include "base/probe.h"
#include "cache/budget.h"
#include "cache/kept_spans.h"
#include "cache/quarantine.h"
#include "slab/shards.h"

namespace carrel::core {

/// A stack of free blocks: floor <= top <= ceiling; the array is [floor, ceiling).
struct CacheBin {
  void** top = nullptr;
  void** floor = nullptr;
  void** ceiling = nullptr;

  std::uint32_t size() const { return static_cast<std::uint32_t>(top - floor); }
  std::uint32_t capacity() const { return static_cast<std::uint32_t>(ceiling - floor); }
};

/// No bin is larger.
inline constexpr std::uint32_t kMostBinSlots = 1024;

/// Bins 0 to 63 by class (0 and 63 are no class: never anything in them), then those of
/// foreign groups, which are indexed by the class map's value: 65 on and 129 on, a few each.
inline constexpr std::uint32_t kCacheBinCount = 0x80 + kFirstUngroupedClass;

/// Between these lie the bins that malloc pops from where freed blocks wait in the first ones: in
/// a hardened build, and while a thread's allocations are sampled.
inline constexpr std::uint32_t kReadyBins = 0x40 + kFirstUngroupedClass;
static_assert(kReadyBins + kClassCount < 0x80);

/// The bin that malloc pops from.
template <Hardening H>
constexpr std::uint32_t bin_to_pop(std::uint32_t size_class) {
  return H.quarantine_bytes != 0 ? kReadyBins + size_class : size_class;
}

/// Whose blocks a bin holds.
constexpr std::uint8_t class_of_bin(std::uint32_t index) {
  return index > kReadyBins && index <= kReadyBins + kClassCount
             ? static_cast<std::uint8_t>(index - kReadyBins)
             : plain_class(static_cast<std::uint8_t>(index));
}

/// How much a thread may cache, from the configuration and the options.
struct CacheLimits {
  std::uint16_t max_slots[kClassCount + 1] = {};

  void compute(std::size_t bytes_per_class, std::uint32_t min_slots, std::uint32_t max_slots_all) {
    for (std::uint8_t id = 1; id <= kClassCount; ++id) {
      std::size_t slots = bytes_per_class / kClasses[id].slot_bytes;
      if (slots < min_slots) slots = min_slots;
      if (slots > max_slots_all) slots = max_slots_all;
      if (slots > kMostBinSlots) slots = kMostBinSlots;
      max_slots[id] = static_cast<std::uint16_t>(slots);
    }
  }
};

struct SampleCounter;  // profile/sample_counter.h

/// How many blocks refill_counted hands out at most: so many that its work is little for each, and
/// so few that they stay near, since they come round in turn.
struct CountedBatches {
  std::uint8_t count[kClassCount + 1] = {};

  constexpr CountedBatches() {
    for (std::uint8_t id = 1; id <= kClassCount; ++id) {
      const std::uint32_t slots = 16 * kKiB / kClasses[id].slot_bytes;
      count[id] = static_cast<std::uint8_t>(slots < 4 ? 4 : slots > 128 ? 128 : slots);
    }
  }
};

/// Why a bin's traffic last left the fast path.
enum class Miss : std::uint8_t { kNone, kEmpty, kFull };

struct ThreadCache {
  CacheBin bins[kCacheBinCount];
  /// Clears this thread's group bit from a class map value.
  std::uint32_t own_group_mask = 0;  // until attached: every block to bin 0, which is full
  std::uint32_t shard = 0;
  bool attached = false;  // a real thread's cache, not the empty one
  std::uint32_t last_trim_tick = 0;
  std::uint32_t last_relief_tick = 0;  // when it was last emptied because memory is short
  std::size_t given_bytes = 0;         // back to the shards since the purger was last told
  void** top_at_trim[kCacheBinCount] = {};
  Miss last_miss[kCacheBinCount] = {};
  KeptSpans kept;       // of large blocks
  RandomSource random;  // a hardened build's
  // Which block is to be placed between guard pages: see count_ready().
  std::int64_t blocks_until_guarded = 0;
  std::uint32_t raised_bin = 0;      // the bin whose floor is raised, 0: none
  void** true_floor = nullptr;       // of that bin
  bool counts_guarded = false;       // blocks_until_guarded was drawn
  bool takes_guarded = false;        // is taking such a block just now
  SampleCounter* counter = nullptr;  // while its thread's allocations are sampled
  // While its thread has a budget, another cache stands in for this one where the thread looks for
  // it: one whose bins are all empty and full at once.
  ThreadCache* stand_in = nullptr;  // of a thread's cache: that other one
  ThreadCache* behind = nullptr;    // of a stand-in: the thread's cache
  BudgetAccount budgets;            // of a stand-in
  ThreadCache* next = nullptr;      // in the registry
  ThreadCache* prev = nullptr;

  /// The bin a freed block goes to, by its class map value.
  CacheBin& bin_for(std::uint32_t map_value) {
    std::uint32_t index = map_value;
    CARREL_OPAQUE(index);  // or it computes in 8 bits and extends the result once more
    return bins[index & own_group_mask];
  }
};

/// The slow half of a cache: misses, growth, trimming. Called by the owning thread only.
template <OsLayer Os>
class CacheKeeper {
 public:
  constexpr CacheKeeper(Shards<Os>& shards, MetadataArena<Os>& metadata, CacheLimits& limits)
      : shards_(shards), metadata_(metadata), limits_(limits) {}
  CacheKeeper(const CacheKeeper&) = delete;
  CacheKeeper& operator=(const CacheKeeper&) = delete;

  /// A block for an empty bin, refilling it; null when memory is exhausted.
  void* refill(ThreadCache& cache, std::uint8_t size_class) {
    const std::uint32_t index = bin_to_pop<kHard>(size_class);
    if constexpr (kSamples) {
      restore_floor(cache);
      if (cache.bins[index].size() != 0) return *--cache.bins[index].top;
    }
    CacheBin& bin = cache.bins[index];
    grow(bin, limit_of(size_class, cache.last_miss[index] == Miss::kFull));
    cache.last_miss[index] = Miss::kEmpty;
    if (bin.capacity() == 0) {  // no memory even for an array
      void* block = nullptr;
      return shards_.take(cache.shard, size_class, &block + 1, 1) == 1 ? block : nullptr;
    }
    const std::uint32_t want = (bin.capacity() + 1) / 2;
    const std::uint32_t got = shards_.take(cache.shard, size_class, bin.floor + want, want);
    CARREL_PROBE("refill", size_class, got);
    if (got == 0) return nullptr;
    // take() wrote downwards from floor + want: fewer than wanted lie above the floor.
    if (got < want) memmove(bin.floor, bin.floor + (want - got), got * sizeof(void*));
    bin.top = bin.floor + got - 1;
    void* block = *bin.top;
    count_ready(cache, index, got);
    return block;
  }

  /// Where malloc pops from a bin of its own, what comes to such bins is what will be allocated:
  /// counting it costs the fast paths nothing. Where the count runs out, the bin that was filled
  /// last gets a floor among its blocks, so that malloc finds it empty there and leaves the fast
  /// path: that block is to be placed between guard pages (see sample_guarded in
  /// heap/hardened_heap.h).
  void count_ready(ThreadCache& cache, std::uint32_t index, std::uint32_t count) {
    if constexpr (kSamples) {
      cache.blocks_until_guarded -= count;
      if (CARREL_UNLIKELY(cache.blocks_until_guarded < 0)) {
        const std::int64_t left = cache.blocks_until_guarded + count;
        raise_floor(cache, index, left < 0 ? 0 : left);
      }
    }
  }

  /// The next block but `left` is to be placed between guard pages. A bin of this index was just
  /// emptied, so far as its floor allowed.
  static void count_from(ThreadCache& cache, std::uint32_t index, std::int64_t left) {
    restore_floor(cache);
    const std::int64_t size = cache.bins[index].size();
    cache.blocks_until_guarded = left - size;
    if (cache.blocks_until_guarded <= 0) raise_floor(cache, index, left);
  }

  /// Undoes that, before a bin is looked at as a whole.
  static void restore_floor(ThreadCache& cache) {
    if (CARREL_LIKELY(cache.raised_bin == 0)) return;
    cache.bins[cache.raised_bin].floor = cache.true_floor;
    cache.raised_bin = 0;
  }

  /// Where allocations are counted, malloc pops from a bin of its own, which this fills: with no
  /// more blocks than may be allocated before the next sample, `left`, less those. So an empty one
  /// tells that all of them were, and the fast paths count nothing. Freed blocks first, the last
  /// freed on top. Returns one, or null without memory. The bin is empty, and `left` is not 0.
  void* refill_counted(ThreadCache& cache, std::uint8_t size_class, std::uint64_t& left) {
    CacheBin& ready = cache.bins[kReadyBins + size_class];
    CacheBin& freed = cache.bins[size_class];
    const std::uint32_t most = kBatches.count[size_class];
    while (ready.capacity() < most && grow(ready, most)) {
    }
    if (ready.capacity() == 0) return nullptr;
    std::uint32_t want = ready.capacity();
    if (left < want) want = static_cast<std::uint32_t>(left);
    const std::uint32_t own = freed.size() < want ? freed.size() : want;
    std::uint32_t got = 0;
    if (own < (want + 1) / 2) {
      const std::uint32_t lacking = want - own;
      cache.last_miss[size_class] = Miss::kEmpty;  // freed blocks are used again: room for more
      got = shards_.take(cache.shard, size_class, ready.floor + lacking, lacking);
      CARREL_PROBE("refill", size_class, got);
      if (got < lacking) memmove(ready.floor, ready.floor + (lacking - got), got * sizeof(void*));
    }
    freed.top -= own;
    if (own != 0) memcpy(ready.floor + got, freed.top, own * sizeof(void*));
    if (got + own == 0) return nullptr;
    left -= got + own;
    ready.top = ready.floor + got + own - 1;
    return *ready.top;
  }

  /// Gives back what those bins hold, with their arrays.
  void drop_counted(ThreadCache& cache) {
    for (std::uint8_t id = 1; id <= kClassCount; ++id) drop(cache, kReadyBins + id);
  }

  /// Makes room in a full bin and pushes the block.
  void push_full(ThreadCache& cache, std::uint8_t map_value, void* block) {
    CacheBin& bin = cache.bin_for(map_value);
    const std::uint8_t size_class = plain_class(map_value);
    Miss& last = cache.last_miss[&bin - cache.bins];
    const bool waits = kQuarantined && &bin == &cache.bins[size_class];
    const bool grown =
        grow(bin, waits ? kPlaces.count[size_class] : limit_of(size_class, last == Miss::kEmpty));
    last = Miss::kFull;
    if (!grown) {
      if (bin.capacity() == 0) {
        give(cache, size_class, &block, 1);
        return;
      }
      if (waits) {
        let_go_slowly(cache, bin, size_class);
      } else {
        give_oldest(cache, bin, size_class, (bin.capacity() + 1) / 2);
      }
    }
    *bin.top++ = block;
  }

  /// Where freed blocks wait: makes room in a full bin, by moving some of them to where malloc
  /// finds them, and pushes the block. False, with nothing done, if that is not to be had so
  /// cheaply.
  bool let_go(ThreadCache& cache, std::uint8_t map_value, void* block) {
    CacheBin& waiting = cache.bin_for(map_value);
    const std::uint8_t size_class = plain_class(map_value);
    const std::uint32_t places = kPlaces.count[size_class];
    if (&waiting != &cache.bins[size_class] || waiting.size() != places) return false;
    CacheBin& ready = cache.bins[bin_to_pop<kHard>(size_class)];
    const auto room = static_cast<std::size_t>(ready.ceiling - ready.top);
    if (places <= kFewPlaces) {
      if (room == 0) return false;
      void*& place = waiting.floor[cache.random.below(places)];
      *ready.top++ = place;
      place = block;
      count_ready(cache, bin_to_pop<kHard>(size_class), 1);
      return true;
    }
    if (room < places / 2) return false;
    draw_half(waiting.floor, places, ready.top, cache.random);
    ready.top += places / 2;
    waiting.top -= places / 2;
    *waiting.top++ = block;
    count_ready(cache, bin_to_pop<kHard>(size_class), places / 2);
    return true;
  }

  /// Gives every cached block and array back.
  void flush(ThreadCache& cache) {
    restore_floor(cache);
    for (std::uint32_t index = 0; index < kCacheBinCount; ++index) drop(cache, index);
  }

  /// Gives back the bins that nobody used since the last call, but not what waits.
  void trim(ThreadCache& cache, std::uint32_t tick) {
    if (tick - cache.last_trim_tick < kTrimTicks) return;
    cache.last_trim_tick = tick;
    restore_floor(cache);
    for (std::uint32_t index = 0; index < kCacheBinCount; ++index) {
      const CacheBin& bin = cache.bins[index];
      if (bin.capacity() == 0) continue;
      if (kQuarantined && index <= kClassCount) continue;
      if (bin.top == cache.top_at_trim[index]) drop(cache, index);
      cache.top_at_trim[index] = bin.top;
    }
  }

 private:
  static constexpr std::uint32_t kFirstCapacity = 8;  // one cache line of pointers
  static constexpr std::uint32_t kTrimTicks = 5;
  static constexpr std::uint32_t kOneWayShare = 2;
  static constexpr std::uint32_t kOneWayLeast = 16;

  static constexpr Hardening kHard = hardening_of<Os>();
  static constexpr bool kQuarantined = kHard.quarantine_bytes != 0;
  static constexpr bool kSamples = kHard.guarded_slots != 0;
  static constexpr QuarantinePlaces kPlaces{kHard.quarantine_bytes};
  static constexpr CountedBatches kBatches{};

  /// How many blocks a bin may hold: fewer unless it was left both ways.
  std::uint32_t limit_of(std::uint8_t size_class, bool both_ways) const {
    const std::uint32_t limit = limits_.max_slots[size_class];
    if (both_ways) return limit;
    std::uint32_t one_way = limit / kOneWayShare;
    if (one_way < kOneWayLeast) one_way = kOneWayLeast;
    return one_way < limit ? one_way : limit;
  }

  /// Doubles a bin's array up to a limit; false when it is as large as it may be, or no
  /// memory is to be had.
  bool grow(CacheBin& bin, std::uint32_t limit) {
    const std::uint32_t old_capacity = bin.capacity();
    if (old_capacity >= limit) return false;
    std::uint32_t capacity = old_capacity == 0 ? kFirstCapacity : old_capacity * 2;
    if (capacity > limit) capacity = limit;
    auto** array = static_cast<void**>(metadata_.allocate(capacity * sizeof(void*)));
    if (array == nullptr) return false;
    const std::uint32_t size = bin.size();
    if (size != 0) memcpy(array, bin.floor, size * sizeof(void*));
    if (old_capacity != 0) metadata_.release(bin.floor, old_capacity * sizeof(void*));
    bin = {.top = array + size, .floor = array, .ceiling = array + capacity};
    return true;
  }

  /// Gives back the `count` blocks that were pushed first.
  void give_oldest(ThreadCache& cache, CacheBin& bin, std::uint8_t size_class,
                   std::uint32_t count) {
    give(cache, size_class, bin.floor, count);
    const std::uint32_t rest = bin.size() - count;
    memmove(bin.floor, bin.floor + count, rest * sizeof(void*));
    bin.top = bin.floor + rest;
  }

  /// The same where the bin for malloc may be full too.
  void let_go_slowly(ThreadCache& cache, CacheBin& waiting, std::uint8_t size_class) {
    const std::uint32_t count = (waiting.capacity() + 1) / 2;
    const std::uint32_t index = bin_to_pop<kHard>(size_class);
    restore_floor(cache);
    CacheBin& ready = cache.bins[index];
    const std::uint32_t limit = limit_of(size_class, cache.last_miss[index] == Miss::kEmpty);
    cache.last_miss[index] = Miss::kFull;
    while (ready.capacity() - ready.size() < count && grow(ready, limit)) {
    }
    if (ready.capacity() - ready.size() < count && ready.size() != 0) {
      const std::uint32_t half = (ready.capacity() + 1) / 2;
      give_oldest(cache, ready, size_class, half < ready.size() ? half : ready.size());
    }
    for (std::uint32_t i = 0; i < count; ++i) {
      void*& place = waiting.floor[cache.random.below(waiting.size())];
      void* block = place;
      place = *--waiting.top;
      if (ready.top != ready.ceiling) {
        *ready.top++ = block;
      } else {
        give(cache, size_class, &block, 1);
      }
    }
    count_ready(cache, index, count);
  }

  /// So that `left` blocks, or all that there are, lie above it.
  CARREL_COLD static void raise_floor(ThreadCache& cache, std::uint32_t index, std::int64_t left) {
    if (cache.raised_bin != 0) return;
    CacheBin& bin = cache.bins[index];
    cache.true_floor = bin.floor;
    cache.raised_bin = index;
    if (left < bin.size()) bin.floor = bin.top - left;
  }

  void give(ThreadCache& cache, std::uint8_t size_class, void** blocks, std::uint32_t count) {
    CARREL_PROBE("flush", size_class, count);
    cache.given_bytes += std::size_t{count} * kClasses[size_class].slot_bytes;
    shards_.give(size_class, blocks, count, cache.shard);
  }

  void drop(ThreadCache& cache, std::uint32_t index) {
    CacheBin& bin = cache.bins[index];
    if (bin.capacity() == 0) return;
    const CacheBin old = bin;
    bin = CacheBin{};
    if (old.size() != 0) {
      give(cache, class_of_bin(index), old.floor, old.size());
    }
    metadata_.release(old.floor, old.capacity() * sizeof(void*));
  }

  Shards<Os>& shards_;
  MetadataArena<Os>& metadata_;
  CacheLimits& limits_;
};

}  // namespace carrel::core
