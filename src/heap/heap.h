// The heap: the parts composed, and the two paths that every program runs all the time.
//
//   malloc(size)                             free(block)
//   |- class from a table                    |- class map says how (one load)
//   |- thread's bin: pop, return             |- thread's bin: push, return
//   `- bin empty or size large:              `- bin full, or no slot of ours:
//      allocate_slow                            free_slow
//      |- > 32 KiB: LargeObjects::allocate      |- null: nothing
//      |- no cache yet: attach                  |- large: LargeObjects::free
//      `- refill from the shard's slab bin      |- not a live block: report, abort
//         `- new slab from the span pool        `- flush a batch to the slab bins
//            `- more memory from the system        `- empty slab to the span pool
//
// In a hardened build (C.hardening) each slot passes the guard on both ways: see
// heap/hardened_heap.h, whose functions take the place of those here.
//
// The fast paths take no lock, make no atomic read-modify-write and write to no user
// memory. `Tls` is what the process gives: the calling thread's cache (cache(), set_cache() for its
// own, use_cache() for another in its place, may_attach()), the heap itself (heap()), the options
// (read_options()), whether to try again what would fail (try_again(), outside of locks), and what
// is done once around the moment when the heap becomes usable (before_ready() must not allocate,
// after_ready() may). All functions may be called from any thread; exhaustion is a null pointer,
// turned into errno in api/.
#pragma once

#include "base/poison.h"
#include "cache/thread_registry.h"
#include "config/config.h"
#include "heap/guarded_large.h"
#include "heap/guarded_slots.h"
#include "heap/large_objects.h"
#include "heap/options.h"
#include "heap/purger.h"
#include "profile/sample_counter.h"
#include "slab/slot_guard.h"

namespace carrel::core {

/// Byte offset of the bin that malloc pops from for sizes 16 * i + 1 to 16 * i + 16. While
/// allocations are sampled, of another one (heap/sampled_heap.h): any thread may see either at any
/// time, and find blocks there, or none and so leave the fast path.
class BinOffsets {
 public:
  static constexpr std::size_t kCount = kMaxSlotBytes / kSlotAlignment;

  constexpr BinOffsets() : offset_() {
    for (std::size_t i = 0; i < kCount; ++i) offset_[i] = offset_of(i, 0);
  }
  std::size_t at(std::size_t step) const {
    return __atomic_load_n(&offset_[step], __ATOMIC_RELAXED);  // each value is right by itself
  }
  /// `first_bin`: 0, or kReadyBins.
  void point_to(std::uint32_t first_bin) {
    for (std::size_t i = 0; i < kCount; ++i) {
      __atomic_store_n(&offset_[i], offset_of(i, first_bin), __ATOMIC_RELAXED);
    }
  }

 private:
  static constexpr std::uint16_t offset_of(std::size_t step, std::uint32_t first_bin) {
    const std::uint32_t bin = first_bin + size_class_for(16 * step + 16);
    return static_cast<std::uint16_t>(bin * sizeof(CacheBin));
  }
  std::uint16_t offset_[kCount];
};
/// Of the process: whether it samples is the same for all its heaps.
inline constinit BinOffsets bin_offsets;

/// What threads without a cache use; all its bins are empty and full at once.
inline constinit ThreadCache empty_cache;

/// How the heap reaches arenas, if there are any (heap/arena_set.h): those functions whose
/// callers cannot know that a block is an arena's, and what is done to all parts at once.
struct ArenaHooks {
  void (*free)(void* block);
  std::size_t (*usable_size)(const void* block);
  void* (*reallocate)(void* block, std::size_t size, std::size_t alignment);
  void (*release_empty)();
  void (*before_fork)();
  void (*after_fork)(bool in_child);
};

/// How the heap reaches the profiler, once sampling was started (heap/profiler.h).
struct ProfileHooks {
  /// Before anything is counted, and to follow a change of the interval: true if there was one, so
  /// that what was drawn for size classes holds no more.
  bool (*prepare)(SampleCounter& counter);
  /// A countdown for slots has ended: a sampled block of `size` bytes, or null if this one cannot
  /// be sampled. The next countdown of its class is drawn.
  void* (*sample)(SampleCounter& counter, std::size_t size);
  /// The same for a large block that exists already; false if it cannot be sampled.
  bool (*sample_large)(SampleCounter& counter, void* block, std::size_t size);
  void (*free)(void* block);                // of a block that sample() gave
  void (*forget_large)(const void* block);  // before one that was sampled is freed or changed
  void (*release_empty)();
  void (*before_fork)();
  void (*after_fork)(bool in_child);
};

/// Who serves in the heap's place, where a tool that checks the program sees only the C library's
/// functions (api/aside.cc). Whose a block is, the class map knows.
struct AsideHooks {
  void* (*allocate)(std::size_t size, std::size_t alignment, bool zero);
  void (*free)(void* block);
  std::size_t (*usable_size)(const void* block);
};

template <Config C, OsLayer BaseOs, class Tls>
class Heap {
 public:
  /// The operating system, with the hardening that the parts below are to know.
  using Os = HardenedOs<BaseOs, C.hardening>;
  static constexpr Hardening kHard = C.hardening;
  /// Whether allocations can be sampled: guarded blocks cannot.
  static constexpr bool kCanSample = !kHard.check_frees;
  /// Whether others may serve in its place: what a hardened build adds to blocks they would lack.
  static constexpr bool kCanStepAside = !kHard.check_frees;
  using Large = std::conditional_t<kHard.guard_large, GuardedLarge<Os>, LargeObjects<Os>>;

  constexpr Heap()
      : pool_(map_, metadata_),
        context_{map_, metadata_, pool_},
        shards_(context_),
        keeper_(shards_, metadata_, limits_),
        registry_(metadata_),
        spans_(map_, pool_, registry_),
        slots_(map_, pool_, metadata_),
        large_(map_, pool_, spans_),
        purger_(context_, shards_, spans_, options_) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  /// At least `size` bytes aligned to 16. What the thread has not cached is `slow(size)`'s
  /// business, which calls allocate_slow and turns its null into the caller's kind of error.
  template <void* (*slow)(std::size_t)>
  CARREL_INLINE void* malloc(std::size_t size) {
    if constexpr (kHard.check_frees) return guarded_malloc<slow>(size);
    if constexpr (kPoisons) {
      void* block = cached_or_slow<slow>(size);
      if (block != nullptr) unpoison(block, usable_size(block));
      return block;
    }
    return cached_or_slow<slow>(size);
  }

  template <void* (*slow)(std::size_t)>
  CARREL_INLINE void* cached_or_slow(std::size_t size) {
    std::size_t step = (size - 1) / kSlotAlignment;  // huge for size 0
    CARREL_OPAQUE(step);                             // or it is compared before it is divided
    if (CARREL_LIKELY(step < BinOffsets::kCount)) {
      char* cache = reinterpret_cast<char*>(Tls::cache());
      CacheBin& bin = *reinterpret_cast<CacheBin*>(cache + bin_offsets.at(step));
      void** top = bin.top;
      if (CARREL_LIKELY(top != bin.floor)) {
        bin.top = top - 1;
        return top[-1];
      }
    }
    return slow(size);
  }

  /// As malloc, for one that is not cached, or null.
  CARREL_NOINLINE void* allocate_slow(std::size_t size);

  /// Gives a block back; null is ignored; anything else that is no block is reported.
  CARREL_INLINE void free(void* block) {
    if constexpr (kHard.check_frees) return guarded_free(block);
    if constexpr (kPoisons) poison_freed(block);
    const std::size_t index = map_.index_of(block);
    if (CARREL_LIKELY(index < map_.granule_count())) {
      CacheBin& bin = Tls::cache()->bin_for(map_.class_at(index));
      void** top = bin.top;
      if (CARREL_LIKELY(top != bin.ceiling)) {
        *top = block;
        bin.top = top + 1;
        return;
      }
    }
    free_slow(block);
  }

  /// `size` bytes that read as zero, aligned to 16, or null.
  void* zero_allocate(std::size_t size) {
    if constexpr (kHard.check_frees) return guarded_zero_allocate(size);
    if (size > kMaxSlotBytes) return allocate_large(size, kSlotAlignment, true);
    void* block = malloc<plain_slow>(size);
    if (block != nullptr) memset(block, 0, size);
    return block;
  }

  /// At least `size` bytes at a multiple of `alignment`, a power of two, or null.
  void* aligned_allocate(std::size_t alignment, std::size_t size) {
    if (alignment <= kSlotAlignment) return malloc<plain_slow>(size);
    if constexpr (kHard.check_frees) return guarded_aligned_allocate(alignment, size);
    if (size == 0) size = 1;
    if (CARREL_UNLIKELY(size > kMaxSlotBytes || alignment > kMaxSlotBytes)) {
      return allocate_large(size, alignment, false);
    }
    // Slabs start at granules, and the class of a multiple of the alignment has slots of such a
    // size too: either it is itself a slot size, or the alignment divides its doubling's steps.
    return malloc<plain_slow>(align_up(size, alignment));
  }

  /// Resizes a block, keeping its contents; null leaves the old block as it was. The
  /// block keeps the alignment it was allocated with, if that is handed in again.
  CARREL_INLINE void* reallocate(void* block, std::size_t size, std::size_t alignment) {
    const std::uint8_t id = plain_class(map_.class_of(block));
    if constexpr (!kHard.check_frees) {
      if (CARREL_LIKELY(id - 1u < kClassCount) && fits(size, kClasses[id].slot_bytes)) return block;
    }
    return reallocate_slow(block, id, size, alignment);
  }

  /// Bytes that may be used in a live block.
  std::size_t usable_size(const void* block) {
    const std::uint8_t id = plain_class(map_.class_of(block));
    if (CARREL_LIKELY(id - 1u < kClassCount)) {
      if constexpr (kHard.check_frees) return guard_.size_of(map_, block, id);
      return kClasses[id].slot_bytes;
    }
    if (id == kArenaBlock) return arena_hooks()->usable_size(block);
    if constexpr (kHard.guarded_slots != 0) {
      if (id == kGuardedBlock) return slots_.size_of(block);
    }
    if (id == kSampledBlock) return kClasses[map_.span_of(block)->size_class].slot_bytes;
    if (id != kLargeBlock) return size_of_foreign(block);
    check_large(block);
    return Large::size_of(map_.span_of(block));
  }

  /// What a sized or an aligned delete says of a block. Only a hardened build looks, and only at
  /// live blocks of its own: what is none is for free to judge.
  CARREL_INLINE void check_size(const void* block, std::size_t size) const {
    if constexpr (kHard.check_sizes) check_size_now(block, size);
  }
  CARREL_INLINE void check_alignment(const void* block, std::size_t alignment) const {
    if constexpr (kHard.check_sizes) check_alignment_now(block, alignment);
  }

  /// What an allocation of `size` would be able to use.
  std::size_t good_size(std::size_t size) const {
    if constexpr (kHard.check_frees) return size;
    if (size <= kMaxSlotBytes) return kClasses[size_class_for(size == 0 ? 1 : size)].slot_bytes;
    return size > kMaxRequestBytes - Os::page_bytes() ? size : align_up(size, Os::page_bytes());
  }

  /// Gives back all that holds no live block, as far as this thread can reach it.
  std::size_t purge() {
    if (!ready()) return 0;
    ThreadCache* cache = own_cache();
    if (cache->attached) flush(*cache);
    if constexpr (!kHard.isolate_classes) {
      release_empty();
    } else if (const ArenaHooks* arenas = arena_hooks()) {
      arenas->release_empty();  // whose slabs no class keeps
    }
    return purger_.purge_all();
  }

  /// Gives back what the calling thread caches.
  void flush_thread() {
    ThreadCache* cache = own_cache();
    if (cache->attached) flush(*cache);
  }

  /// Where memory was refused: gives back what can be given back, so that one more try may succeed.
  void make_room() { reclaim(); }

  /// Called on the way out of a thread: gives its cache back.
  void detach_thread(ThreadCache* cache) {
    end_budgets(*cache);
    leave_profiling(*cache);
    purger_.keep_time();
    flush(*cache);
    const std::size_t given_bytes = cache->given_bytes;
    spans_.leave(*cache);
    registry_.detach(cache);
    purger_.note_given(given_bytes, C.purge_start_bytes);
    purger_.poll();
  }

  /// Makes the heap usable, once; false when not even that is possible.
  bool initialize() { return CARREL_LIKELY(ready()) || initialize_now(); }

  /// The helper thread's entry leads here.
  void run_purger() { purger_.run(); }

  // fork: every lock is taken before and released after, in the order of their ranks, so
  // that the child finds each structure whole.
  CARREL_COLD void before_fork();
  CARREL_COLD void after_fork_in_parent();
  CARREL_COLD void after_fork_in_child();

  bool ready() const { return state_.load(std::memory_order_acquire) == kReady; }
  const Options& options() const { return options_; }
  /// Options that are read only at the start can be set until the first allocation.
  CARREL_COLD OptionError set_option_now(TextView key, TextView value);
  /// Those in force, also before the first allocation.
  const Options& options_now();

  /// The calling thread's cache, also while another stands in for it; the empty one if it has none.
  static ThreadCache* own_cache() {
    ThreadCache* cache = Tls::cache();
    return CARREL_LIKELY(cache->behind == nullptr) ? cache : cache->behind;
  }

  /// Null until sampling is first started; then always the same.
  const ProfileHooks* profile_hooks() const {
    return profile_hooks_.load(std::memory_order_acquire);
  }
  void set_profile_hooks(const ProfileHooks* hooks) {
    profile_hooks_.store(hooks, std::memory_order_release);  // pairs with the acquire above
  }
  bool profiling() const { return profiling_.load(std::memory_order_relaxed); }
  /// The hooks are set. Takes effect at once, for all threads; a thread gives back what it counts
  /// with when it passes a slow path after the end. Not to be called by two at a time.
  void set_profiling(bool on) {
    profiling_.store(on, std::memory_order_release);
    if constexpr (kCanSample) bin_offsets.point_to(on ? kReadyBins : 0);
    ThreadCache* cache = own_cache();
    if (cache->attached) follow_profiling(*cache);
  }

  // Budgets of the calling thread: heap/budgets.h.
  CARREL_COLD Budget* begin_budget(std::uint64_t bytes, bool& possible);
  CARREL_COLD bool end_budget(const Budget* budget);
  BudgetAccount* budgets();
  /// Whether it is for them that a request cannot be served.
  bool budgets_refuse(std::size_t size, std::size_t alignment);

  /// The block that a fault at this address has to do with; false if there is none.
  bool explain_fault(const void* address, FaultedBlock& block) const;

  /// Where sampled blocks of a hardened build live.
  auto& guarded_slots() { return slots_; }

  /// Null until the first arena is created; then always the same.
  const ArenaHooks* arena_hooks() const { return arena_hooks_.load(std::memory_order_acquire); }
  void set_arena_hooks(const ArenaHooks* hooks) {
    arena_hooks_.store(hooks, std::memory_order_release);  // pairs with the acquire above
  }

  /// Null unless others serve in the heap's place; then always the same.
  const AsideHooks* aside() const {
    if constexpr (!kCanStepAside) return nullptr;
    return aside_.load(std::memory_order_acquire);
  }
  /// From now on threads that have no cache yet get none, and are served by `hooks`.
  void step_aside(const AsideHooks& hooks) {
    aside_.store(&hooks, std::memory_order_release);  // pairs with the acquire above
  }

  // For statistics (heap/stats.h) and arenas.
  PageMap<Os>& map() { return map_; }
  MetadataArena<Os>& metadata() { return metadata_; }
  SpanPool<Os>& pool() { return pool_; }
  Shards<Os>& shards() { return shards_; }
  SlabContext<Os>& context() { return context_; }
  ThreadRegistry<Os>& registry() { return registry_; }
  Large& large() { return large_; }
  const Purger<Os>& purger() const { return purger_; }
  Purger<Os>& purger() { return purger_; }
  const SpanCache<Os>& spans() const { return spans_; }

 private:
  friend struct HeapLayoutTable;  // says where these are: api/heap_layout.cc
  enum State : std::uint32_t { kUntouched, kBusy, kReady };

  static void* plain_slow(std::size_t size) { return Tls::heap().allocate_slow(size); }
  CARREL_NOINLINE void free_slow(void* block);
  // What these two lead to; apart, so that they save no registers for it.
  CARREL_NOINLINE void* allocate_missed(std::size_t size);
  CARREL_NOINLINE void free_missed(void* block);
  void push_slow(void* block, std::uint8_t value);
  void free_large(void* block);
  CARREL_NOINLINE ThreadCache* attach_thread();
  CARREL_NOINLINE void* allocate_large(std::size_t size, std::size_t alignment, bool zero);
  CARREL_COLD bool initialize_now();
  bool begin_setup();
  CARREL_COLD bool prepare_parts();
  void read_options();
  void* take_uncached(std::uint8_t size_class);
  void* take_slot(std::uint8_t size_class, std::size_t size);
  void* take_slot_once(std::uint8_t size_class);
  CARREL_COLD void* take_slot_again(std::uint8_t size_class, std::size_t size);
  void* take_large(std::size_t size, std::size_t alignment, bool zero, ThreadCache& cache);
  void flush(ThreadCache& cache);
  void reclaim();
  CARREL_COLD void release_empty();
  void keep_house(ThreadCache& cache);

  /// Whether a block of so many bytes may stay where it is: it is not more than twice what is
  /// needed.
  static constexpr bool fits(std::size_t size, std::size_t bytes) {
    return size <= bytes && (size > bytes / 2 || bytes == kSlotAlignment);
  }
  CARREL_NOINLINE void* reallocate_slow(void* block, std::uint8_t id, std::size_t size,
                                        std::size_t alignment);
  void* move_block(void* block, std::uint8_t id, std::size_t old_bytes, std::size_t size,
                   std::size_t alignment);

  // Sampling, in heap/sampled_heap.h.
  CARREL_NOINLINE void* allocate_counted(std::size_t size);
  void* take_counted(ThreadCache& cache, std::uint8_t id, std::size_t size);
  CARREL_COLD bool begin_counting(ThreadCache& cache);
  CARREL_COLD void follow_profiling(ThreadCache& cache);
  CARREL_COLD void leave_profiling(ThreadCache& cache);
  void count_large(void* block, std::size_t size) {
    if constexpr (!kCanSample) return;
    if (CARREL_UNLIKELY(profiling_.load(std::memory_order_relaxed))) count_large_now(block, size);
  }
  CARREL_COLD void count_large_now(void* block, std::size_t size);
  void forget_large(const void* block) {
    if constexpr (!kCanSample) return;
    Span* span = map_.span_of(block);
    if (CARREL_LIKELY(!span->sampled)) return;
    span->sampled = false;
    profile_hooks()->forget_large(block);
  }
  /// In place; what changes its size is to the profile a new allocation.
  CARREL_NOINLINE bool resize_large(void* block, std::size_t size) {
    check_large(block);
    if (size <= kMaxSlotBytes ||
        !resize_in_budget(block, size, [&] { return large_.resize_in_place(block, size); })) {
      return false;
    }
    forget_large(block);
    count_large(block, size);
    return true;
  }
  CARREL_COLD void relieve(ThreadCache& cache);
  void apply_limits();

  /// Before a free, which reports what is no block.
  void poison_freed(const void* block) {
    const std::uint8_t id = plain_class(map_.class_of(block));
    if (id - 1u < kClassCount) return poison(block, kClasses[id].slot_bytes);
    const Span* span = id == kLargeBlock || id == kSampledBlock ? map_.span_of(block) : nullptr;
    if (span == nullptr) return;
    if (id == kSampledBlock) return poison(block, kClasses[span->size_class].slot_bytes);
    if (span->state == SpanState::kLarge) poison(block, span->large_bytes);
  }

  // Budgets, in heap/budgets.h.
  CARREL_COLD bool put_stand_in(ThreadCache& cache);
  void take_stand_in_away(ThreadCache& cache);
  void* take_behind(ThreadCache& cache, std::size_t size);
  void give_behind(ThreadCache& cache, void* block);
  std::size_t counted_bytes(const void* block);
  static std::size_t large_bytes(std::size_t size) {
    return align_up(size == 0 ? 1 : size, Os::page_bytes());
  }
  bool fits_budgets(std::size_t bytes, std::size_t size, std::size_t alignment);
  void count_in_budgets(const void* block);
  void count_out_of_budgets(std::size_t bytes);
  bool may_resize(std::size_t old_bytes, std::size_t size);
  template <class Resize>
  bool resize_in_budget(void* block, std::size_t size, Resize resize) {
    if (CARREL_LIKELY(Tls::cache()->behind == nullptr)) return resize();
    const std::size_t old_bytes = counted_bytes(block);
    if (!may_resize(old_bytes, size) || !resize()) return false;
    count_out_of_budgets(old_bytes);
    count_in_budgets(block);
    return true;
  }
  CARREL_NOINLINE void* allocate_in_budget(ThreadCache& stand_in, std::size_t size);
  CARREL_COLD void* allocate_large_in_budget(std::size_t size, std::size_t alignment, bool zero);
  void* allocate_large_now(std::size_t size, std::size_t alignment, bool zero);
  CARREL_NOINLINE void free_in_budget(ThreadCache& stand_in, void* block);
  CARREL_COLD void end_budgets(ThreadCache& cache);

  void check_large(const void* block) const {
    if (CARREL_UNLIKELY(address_of(block) % kGranuleBytes != 0)) {
      Report<Os>::interior_pointer(block);
    }
    if constexpr (!kHard.guard_large) {
      if (CARREL_UNLIKELY(!large_.is_live(block))) Report<Os>::double_free(block);
    }
  }
  [[noreturn]] CARREL_COLD void report_misuse(const void* pointer);
  /// Of what is no block of this heap: somebody else's, if it has stepped aside, or nobody's.
  CARREL_COLD std::size_t size_of_foreign(const void* block) {
    if (const AsideHooks* other = aside()) return other->usable_size(block);
    report_misuse(block);
  }

  // A hardened build's part; in heap/hardened_heap.h. Never called by others.
  static constexpr std::size_t kLargestSlotRequest = kMaxSlotBytes - kHard.canary_bytes;
  static constexpr std::uint8_t guarded_class_for(std::size_t size) {
    const std::size_t bytes = size + kHard.canary_bytes;
    return size_class_for(bytes == 0 ? 1 : bytes);
  }
  template <void* (*slow)(std::size_t)>
  CARREL_INLINE void* guarded_malloc(std::size_t size) requires(C.hardening.check_frees);
  template <void* (*slow)(std::size_t)>
  CARREL_NOINLINE void* long_malloc(std::size_t size) requires(C.hardening.check_frees);
  CARREL_INLINE void guarded_free(void* block) requires(C.hardening.check_frees);
  CARREL_INLINE void give_slot(void* block, std::uint32_t value) requires(C.hardening.check_frees);
  CARREL_NOINLINE void free_long(void* block, std::uint32_t value,
                                 std::uint32_t class_id) requires(C.hardening.check_frees);
  CARREL_NOINLINE void push_full_bin(void* block,
                                     std::uint32_t map_value) requires(C.hardening.check_frees);
  CARREL_COLD void push_behind(void* block,
                               std::uint8_t map_value) requires(C.hardening.check_frees);
  void* allocate_class(std::uint8_t id, std::size_t size,
                       std::size_t alignment) requires(C.hardening.check_frees);
  void* guarded_zero_allocate(std::size_t size) requires(C.hardening.check_frees);
  void* guarded_aligned_allocate(std::size_t alignment,
                                 std::size_t size) requires(C.hardening.check_frees);
  bool resize_guarded(void* block, std::uint8_t id,
                      std::size_t size) requires(C.hardening.check_frees);
  CARREL_NOINLINE void* allocate_class_slow(
      std::uint8_t id, std::size_t size, std::size_t alignment) requires(C.hardening.check_frees);
  void* sample_guarded(std::uint8_t id, std::size_t size,
                       std::size_t alignment) requires(C.hardening.check_frees);
  CARREL_COLD void* sample_guarded_now(ThreadCache& cache, std::size_t size,
                                       std::size_t alignment) requires(C.hardening.check_frees);
  void watch_faults();
  bool shrink_guarded(void* block, std::uint8_t id,
                      std::size_t size) requires(C.hardening.check_frees);
  void check_size_now(const void* block, std::size_t size) const requires(C.hardening.check_frees);
  void check_alignment_now(const void* block, std::size_t alignment) const
      requires(C.hardening.check_frees);
  void prepare_hardening();

  PageMap<Os> map_;
  MetadataArena<Os> metadata_;
  SpanPool<Os> pool_;
  SlabContext<Os> context_;
  Shards<Os> shards_;
  CacheLimits limits_;
  CacheKeeper<Os> keeper_;
  ThreadRegistry<Os> registry_;
  struct NoGuard {};
  struct NoSlots {
    constexpr NoSlots(PageMap<Os>&, SpanPool<Os>&, MetadataArena<Os>&) {}
    void set_stack_reader(std::size_t (*)(const void**, std::size_t), std::uintptr_t,
                          std::uintptr_t) {}
    GuardedTotals totals() const { return {}; }
  };
  [[no_unique_address]] std::conditional_t<kHard.check_frees, SlotGuard<Os>, NoGuard> guard_;
  SpanCache<Os> spans_;
  [[no_unique_address]] std::conditional_t<kHard.guarded_slots != 0, GuardedSlots<Os>, NoSlots>
      slots_;
  Large large_;
  Options options_;
  Purger<Os> purger_;
  std::atomic<const ArenaHooks*> arena_hooks_{nullptr};
  std::atomic<const ProfileHooks*> profile_hooks_{nullptr};
  std::atomic<const AsideHooks*> aside_{nullptr};
  std::atomic<bool> profiling_{false};
  std::atomic<bool> watching_{false};          // Os::watch_faults was called
  std::atomic<std::uint32_t> relief_tick_{0};  // when somebody last purged for the soft limit
  std::atomic<std::uint32_t> state_{kUntouched};
  bool options_read_ = false;  // these two belong to whoever set kBusy
  bool window_chosen_ = false;
};

}  // namespace carrel::core
