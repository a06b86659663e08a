// All arenas of a heap: makes them, finds the one that a block belongs to, ends them.
//
// Basic design: a table from an arena's number, which its spans carry, to the arena. Arenas are
// type-stable: one that was destroyed is kept for the next that is created, so that a stale
// handle or pointer leads to an arena and can be judged. The heap knows of arenas only through
// ArenaHooks (heap.h), set when the first one is created: a program without arenas links none of
// this. Thread-safe; the table's lock comes just before the arenas' (rank 0).
#pragma once

#include <new>

#include "heap/arena.h"
#include "heap/purger.h"

namespace carrel::core {

template <OsLayer Os>
class ArenaSet {
 public:
  ArenaSet(SlabContext<Os>& context, Purger<Os>& purger) : context_(context), purger_(purger) {}
  ArenaSet(const ArenaSet&) = delete;
  ArenaSet& operator=(const ArenaSet&) = delete;

  static constexpr std::uint32_t kMaxArenas = 65'536;

  /// Null when memory or numbers are exhausted.
  Arena<Os>* create() {
    Arena<Os>* arena = take_unused();
    if (arena != nullptr) arena->set_in_use(true);
    return arena;
  }

  /// As create(); null also when what is wished for is refused.
  Arena<Os>* create_with(const ArenaWishes& wishes) {
    Arena<Os>* arena = take_unused();
    if (arena == nullptr) return nullptr;
    purger_.keep_time();
    if (arena->begin_with(wishes)) {
      with_own_.fetch_add(1, std::memory_order_relaxed);
      return arena;
    }
    keep_unused(*arena);
    return nullptr;
  }

  /// False for one that is destroyed already.
  bool destroy(Arena<Os>& arena) {
    if (!arena.set_in_use(false)) return false;
    reset(arena);
    arena.return_own();
    keep_unused(arena);
    return true;
  }

  /// Of arenas with a pool of their own; see OtherMemory. By the heap's decay where they have none.
  std::size_t purge_own(bool everything, bool on_helper, std::uint32_t decay_ms) {
    std::size_t purged = 0;
    if (with_own_.load(std::memory_order_relaxed) == 0) return 0;
    for_each([&](Arena<Os>& arena) { purged += arena.purge_own(everything, on_helper, decay_ms); });
    return purged;
  }
  std::size_t resting() const {
    std::size_t granules = 0;
    if (with_own_.load(std::memory_order_relaxed) == 0) return 0;
    for_each([&](const Arena<Os>& arena) { granules += arena.resting(); });
    return granules;
  }

  void reset(Arena<Os>& arena) {
    purger_.keep_time();  // what is released is stamped with it
    if (arena.reset() != 0) purger_.poll();
  }

  /// The arena that a block belongs to; null for every other address.
  Arena<Os>* arena_of(const void* block) const {
    if (context_.map.class_of(block) != kArenaBlock) return nullptr;
    return by_id(context_.map.span_of(block)->arena);
  }
  /// Null if there was never one of this number; it may be destroyed.
  Arena<Os>* by_id(std::size_t id) const {
    return id < made_.load(std::memory_order_acquire) ? table_[id] : nullptr;
  }

  std::size_t numbers() const { return made_.load(std::memory_order_acquire); }

  void free(void* block) {
    Arena<Os>* arena = arena_of(block);
    if (arena == nullptr) Report<Os>::double_free(block);
    const bool gave_back =
        arena->free(context_.map.span_of(block), block, [this] { purger_.keep_time(); });
    if (!gave_back) return;
    // Beyond its soft limit, and where the helper must not purge, somebody must do it here.
    if (with_own_.load(std::memory_order_relaxed) != 0 && arena->purges_at_free()) {
      arena->purge_own(false, false, kHeapsDecayAtFree);
    }
    purger_.poll();
  }

  std::size_t usable_size(const void* block) {
    Arena<Os>* arena = arena_of(block);
    if (arena == nullptr) Report<Os>::invalid_free(block);
    return arena->usable_size(context_.map.span_of(block), block);
  }

  /// As realloc, within the block's arena; null leaves the block as it was.
  void* reallocate(void* block, std::size_t size, std::size_t alignment) {
    Arena<Os>* arena = arena_of(block);
    if (arena == nullptr) Report<Os>::invalid_free(block);
    Span* span = context_.map.span_of(block);
    const std::size_t old_bytes = arena->usable_size(span, block);
    if (old_bytes <= kMaxSlotBytes && size <= old_bytes && size > old_bytes / 2) return block;
    if (old_bytes > kMaxSlotBytes && arena->resize_in_place(span, size)) return block;
    void* target = arena->allocate(size, alignment, false);
    if (target == nullptr) return size <= old_bytes ? block : nullptr;
    memcpy(target, block, size < old_bytes ? size : old_bytes);
    free(block);
    return target;
  }

  /// Gives back the slabs that hold nothing, of all arenas.
  void release_empty() {
    purger_.keep_time();
    for_each([](Arena<Os>& arena) { arena.release_empty(); });
  }

  /// Sums up; returns how many arenas there are.
  std::size_t totals(ArenaTotals& sum) {
    for_each([&sum](Arena<Os>& arena) {
      ArenaTotals one;
      arena.totals(one);
      sum.live_bytes += one.live_bytes;
      sum.live_blocks += one.live_blocks;
      sum.span_bytes += one.span_bytes;
      sum.free_bytes += one.free_bytes;
    });
    LockGuard guard(lock_);
    return count_;
  }

  /// For every arena that was ever made, destroyed ones too.
  template <class Visit>
  void for_each(Visit visit) const {
    const std::uint32_t made = made_.load(std::memory_order_acquire);
    for (std::uint32_t id = 0; id < made; ++id) visit(*table_[id]);
  }

  void before_fork() {
    lock_.lock();
    for_each([](Arena<Os>& arena) { arena.lock(); });
  }
  void after_fork(bool in_child) {
    for_each([in_child](Arena<Os>& arena) {
      if (in_child) {
        arena.reset_after_fork();
      } else {
        arena.unlock();
      }
    });
    if (in_child) {
      lock_.reset_after_fork();
    } else {
      lock_.unlock();
    }
  }

 private:
  friend struct HeapLayoutTable;  // says where these are: api/heap_layout.cc
  static constexpr std::uint32_t kHeapsDecayAtFree = 500;

  Arena<Os>* take_unused() {
    LockGuard guard(lock_);
    Arena<Os>* arena = unused_ != nullptr ? unused_ : make();
    if (arena == nullptr) return nullptr;
    unused_ = arena->next_unused;
    arena->next_unused = nullptr;
    ++count_;
    return arena;
  }
  void keep_unused(Arena<Os>& arena) {
    LockGuard guard(lock_);
    arena.next_unused = unused_;
    unused_ = &arena;
    --count_;
  }

  Arena<Os>* make() {
    if (table_ == nullptr) {
      // Untouched pages cost nothing.
      table_ = static_cast<Arena<Os>**>(Os::map(nullptr, kMaxArenas * sizeof(Arena<Os>*)));
      if (table_ == nullptr) return nullptr;
    }
    const std::uint32_t id = made_.load(std::memory_order_relaxed);
    if (id == kMaxArenas) return nullptr;
    void* memory = context_.metadata.allocate(sizeof(Arena<Os>));
    if (memory == nullptr) return nullptr;
    table_[id] = ::new (memory) Arena<Os>(context_, id);
    // Release pairs with the acquire in by_id() and for_each(): the entry is seen.
    made_.store(id + 1, std::memory_order_release);
    return table_[id];
  }

  SlabContext<Os>& context_;
  Purger<Os>& purger_;
  Mutex<Os> lock_;  // guards everything below; entries of the table never change
  Arena<Os>** table_ = nullptr;
  std::atomic<std::uint32_t> made_{0};
  std::atomic<std::size_t> with_own_{0};  // that ever began with a pool of their own
  Arena<Os>* unused_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace carrel::core
