// A heap on the simulated system, at the beginning of the arena, and what scenarios ask of it.
//
// Caches hold two blocks a class, so that nearly every call meets the shards.
#pragma once

#include <new>

#include "heap/heap_slow.h"
#include "heap/stats.h"
#include "model_os.h"

namespace carrel::core {

inline constexpr Config kModelConfig{.window_bytes = 4 * kGiB,
                                     .cache_bytes_per_class = 0,
                                     .cache_max_slots = 2,
                                     .cache_min_slots = 2,
                                     .decay_ms = 0,
                                     .huge_start_bytes = kGiB,
                                     .purge_start_bytes = 2 * kGranuleBytes,
                                     .max_shards = 2};
static_assert(validate(kModelConfig));

/// The same, judging every pointer that is freed.
inline constexpr Config kModelSecure = [] {
  Config config = kModelConfig;
  config.hardening = {.check_frees = true,
                      .canary_bytes = 8,
                      .zero_freed = true,
                      .verify_bytes = 128,
                      .isolate_classes = true};
  return config;
}();
static_assert(validate(kModelSecure));

template <Config C>
struct ModelTls {
  using TheHeap = Heap<C, ModelOs, ModelTls>;

  static TheHeap& heap() { return *reinterpret_cast<TheHeap*>(model::kArenaStart); }
  static ThreadCache* cache() { return caches[model::thread_number()]; }
  static void set_cache(ThreadCache* cache) { caches[model::thread_number()] = cache; }
  static void use_cache(ThreadCache* cache) { set_cache(cache); }
  static bool may_attach() { return !exited[model::thread_number()]; }
  static bool try_again(std::size_t, std::size_t, std::uint32_t) { return false; }
  static void before_ready() {}
  static void after_ready(const Options&) {}
  static void read_options(Options& options) { options.shards = shards; }
  static void purger_entry() { heap().run_purger(); }

  static inline ThreadCache* caches[model::kMaxThreads];
  static inline bool exited[model::kMaxThreads];
  static inline std::uint32_t shards = 2;
};

/// The heap, and what programs call, for one configuration.
template <Config C>
struct ModelHeap {
  using Tls = ModelTls<C>;
  using TheHeap = typename Tls::TheHeap;

  static TheHeap& heap() { return Tls::heap(); }

  /// In setup(): a fresh system and an unused heap.
  static void create(std::uint32_t shards) {
    ModelOs::reset(align_up(sizeof(TheHeap), kGranuleBytes));
    for (int i = 0; i < model::kMaxThreads; ++i) {
      Tls::caches[i] = &empty_cache;
      Tls::exited[i] = false;
    }
    Tls::shards = shards;
    ::new (static_cast<void*>(&heap())) TheHeap;
  }

  static void* slow(std::size_t size) { return heap().allocate_slow(size); }

  /// A block of which the first word says whose it is; there must be memory.
  static char* take(std::size_t size, std::uint64_t stamp) {
    auto* block = static_cast<char*>(heap().template malloc<slow>(size));
    model::require(block != nullptr, "no memory");
    *reinterpret_cast<std::uint64_t*>(block) = stamp;
    return block;
  }
  static void expect(const char* block, std::uint64_t stamp) {
    model::require(*reinterpret_cast<const std::uint64_t*>(block) == stamp,
                   "a block's contents changed");
  }
  static void give(char* block, std::uint64_t stamp) {
    expect(block, stamp);
    heap().free(block);
  }

  /// What happens at the end of a thread.
  static void exit() {
    ThreadCache* cache = Tls::cache();
    Tls::caches[model::thread_number()] = &empty_cache;
    Tls::exited[model::thread_number()] = true;
    if (cache->attached) heap().detach_thread(cache);
  }

  /// Each granule belongs to one span, no two free ones are neighbours, and the sums are right.
  /// Returns the slots of slabs that are not free. Nobody is in the middle of anything.
  static std::size_t walk() {
    const auto& map = heap().map();
    std::size_t free = 0;
    std::size_t touched = 0;
    std::size_t used_slots = 0;
    bool after_free = false;
    for (std::size_t at = 0; at < map.granule_count();) {
      const Span* span = map.granule(at).span;
      model::require(span != nullptr && span->first == at && span->count != 0 &&
                         map.granule(at + span->count - 1).span == span,
                     "a granule's span is another one's");
      const SpanState state = span->state;
      model::require(state != SpanState::kUnused, "a granule's span is unused");
      model::require(state != SpanState::kPurging, "a span is lost while it is purged");
      const bool is_free = state == SpanState::kFree;
      model::require(!(is_free && after_free), "free spans are neighbours");
      after_free = is_free;
      if (is_free) {
        free += span->count;
        for (std::uint32_t i = 0; i < span->count; ++i) {
          touched += map.granule(at + i).touched_tick != 0 ? 1 : 0;
          model::require(map.class_at(at + i) == kNotOurs, "a free granule has a class");
        }
      } else if (state == SpanState::kSlab) {
        std::uint32_t bits = 0;
        const ClassInfo& info = kClasses[span->size_class];
        for (std::uint32_t word = 0; word < info.bit_words; ++word) {
          bits += static_cast<std::uint32_t>(std::popcount(span->free_bits[word]));
        }
        model::require(bits == span->free_slots, "a slab counts its free slots wrongly");
        used_slots += info.slots - bits;
      }
      at += span->count;
    }
    const PoolTotals totals = heap().pool().totals();
    model::require(free == totals.free && touched == totals.touched, "the pool's sums are wrong");
    return used_slots;
  }

  /// Every block was freed: ends all threads and gives everything back.
  static void expect_clean() {
    for (ThreadCache*& cache : Tls::caches) {
      ThreadCache* left = cache;
      cache = &empty_cache;
      if (left->attached) heap().detach_thread(left);
    }
    heap().purge();
    HeapStats stats;
    gather_stats(stats, heap().shards(), heap().registry(), heap().large(), heap().spans(),
                 heap().pool(), heap().metadata());
    model::require(stats.live_blocks == 0 && stats.live_bytes == 0, "blocks are left");
    model::require(stats.threads == 0, "caches are left");
    model::require(stats.touched_bytes == 0, "touched memory is left");
    if (!C.hardening.isolate_classes) {
      model::require(stats.free_bytes == stats.heap_bytes, "spans are left");
    }
    model::require(walk() == 0, "slots are left");
  }
};

}  // namespace carrel::core
