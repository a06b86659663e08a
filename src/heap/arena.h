// An arena: slabs and large blocks of its own, which live and die together.
//
// Basic design: an arena takes spans from the heap's pool and cuts them as the heap does, but
// its blocks enter no thread's cache: every call takes the arena's lock, sets or clears one bit,
// and is done. So what is live is known exactly at any moment, a double free is noticed at once,
// and giving everything back is a matter of its spans, whatever they hold. Spans know the arena's
// number; the class map says kArenaBlock for all its blocks, which leads a free of theirs, by
// whomever, out of the fast path and here (arena_set.h).
//
// Thread-safe. The lock is of rank 0, so that whoever walks an arena may use the heap; it is held
// while a span is taken from the pool.
#pragma once

#include "base/intrusive_list.h"
#include "base/poison.h"
#include "heap/purger.h"
#include "slab/slab_bin.h"

namespace carrel::core {

/// An arena's numbers; sizes in bytes.
struct ArenaTotals {
  std::size_t live_bytes = 0;  // rounded up to slots and pages
  std::size_t live_blocks = 0;
  std::size_t span_bytes = 0;   // address space of its slabs and large blocks
  std::size_t peak_bytes = 0;   // the most that this has been
  std::size_t limit_bytes = 0;  // the most that it may be
  std::uint64_t allocations = 0;
  std::size_t soft_limit_bytes = 0;
  std::size_t free_bytes = 0;    // in its own pool
  std::size_t purged_bytes = 0;  // from there
  std::uint32_t decay_ms = 0;    // kHeapsDecay: the heap's
};

inline constexpr std::uint32_t kHeapsDecay = UINT32_MAX;

/// What an arena has of its own; in force for one life of it.
struct ArenaWishes {
  std::size_t limit_bytes = SIZE_MAX;
  std::size_t soft_limit_bytes = SIZE_MAX;
  bool own_decay = false;
  std::uint32_t decay_ms = 0;
  Backing backing;
  std::uint32_t first_granules = 0;  // to be had at once
};

template <OsLayer Os>
class Arena {
 public:
  static constexpr std::size_t kNoLimit = SIZE_MAX;

  /// `map_value`: what the class map says of its blocks.
  Arena(SlabContext<Os>& context, std::uint32_t id, std::uint8_t map_value = kArenaBlock)
      : context_(context), id_(id), map_value_(map_value) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  std::uint32_t id() const { return id_; }
  Arena* next_unused = nullptr;  // the arena set's

  /// Begins or ends a life; false if it had begun or ended already.
  bool set_in_use(bool in_use) {
    LockGuard guard(lock_);
    if (in_use_ == in_use) return false;
    in_use_ = in_use;
    if (in_use) {
      limit_bytes_ = soft_limit_bytes_ = kNoLimit;
      peak_bytes_ = 0;
      allocations_ = 0;
      handler_ = nullptr;
    }
    return true;
  }

  /// Begins a life with a pool of its own; false when memory, or its backing, is refused: it is as
  /// before then.
  bool begin_with(const ArenaWishes& wishes) {
    SpanPool<Os>* own = own_.load(std::memory_order_acquire);
    if (own == nullptr) {
      static_assert(sizeof(SpanPool<Os>) <= MetadataArena<Os>::kMaxRecordBytes);
      void* memory = context_.metadata.allocate(sizeof(SpanPool<Os>));
      if (memory == nullptr) return false;
      own = ::new (memory) SpanPool<Os>(context_.pool, id_ + 1);
      // Under the lock: to a fork it is there when it locks the arena and when it unlocks it, or at
      // neither time. The release pairs with the acquires: it is seen whole.
      LockGuard guard(lock_);
      own_.store(own, std::memory_order_release);
    }
    back(*own, wishes.backing);
    const bool backed = wishes.backing.commit != nullptr;
    own->set_limits(wishes.soft_limit_bytes, backed ? SIZE_MAX : wishes.limit_bytes);
    const bool can_purge = !backed || wishes.backing.purge != nullptr;
    can_purge_.store(can_purge, std::memory_order_relaxed);
    helper_purges_.store(can_purge && wishes.backing.on_any_thread, std::memory_order_relaxed);
    decay_ms_.store(wishes.own_decay ? wishes.decay_ms : kHeapsDecay, std::memory_order_relaxed);
    if (wishes.first_granules != 0 && !own->borrow_first(wishes.first_granules)) {
      back(*own, {});
      return false;
    }
    set_in_use(true);
    LockGuard guard(lock_);
    pool_ = own;
    purged_before_ = own->totals().purged;
    limit_bytes_ = wishes.limit_bytes;
    soft_limit_bytes_ = wishes.soft_limit_bytes;
    return true;
  }

  /// After the end of a life, and reset(): what its own pool has goes home.
  void return_own() {
    SpanPool<Os>* own = own_.load(std::memory_order_acquire);
    if (own == nullptr) return;
    own->return_all();
    back(*own, {});  // what it was given as context is its maker's again
    LockGuard guard(lock_);
    pool_ = &context_.pool;
  }

  /// Purges what has rested long enough in its own pool; `everything`: all that is free. Takes not
  /// the arena's lock. Returns granules.
  std::size_t purge_own(bool everything, bool on_helper, std::uint32_t heaps_decay_ms) {
    SpanPool<Os>* own = own_.load(std::memory_order_acquire);
    if (own == nullptr || own->totals().touched == 0) return 0;
    if (!can_purge_.load(std::memory_order_relaxed)) return 0;
    if (on_helper && !helper_purges_.load(std::memory_order_relaxed)) return 0;
    const std::uint32_t own_ms = decay_ms_.load(std::memory_order_relaxed);
    const std::uint32_t ms = own_ms == kHeapsDecay ? heaps_decay_ms : own_ms;
    const bool now = everything || own->over_soft_limit() || context_.pool.memory_is_short();
    return own->purge_older_than(now ? std::uint8_t{0} : decay_ticks_of(ms), SIZE_MAX);
  }
  /// Whether that is to be done now that something was freed: where the helper does not, once a
  /// tick, since all that rests is looked through.
  bool purges_at_free() {
    const SpanPool<Os>* own = own_.load(std::memory_order_acquire);
    if (own == nullptr || !can_purge_.load(std::memory_order_relaxed)) return false;
    if (own->over_soft_limit()) return true;
    if (helper_purges_.load(std::memory_order_relaxed)) return false;
    if (decay_ms_.load(std::memory_order_relaxed) == 0) return true;
    const std::uint32_t tick = context_.tick.load(std::memory_order_relaxed);
    return at_free_tick_.exchange(tick, std::memory_order_relaxed) != tick;
  }
  /// Free granules in its own pool that are perhaps resident and will be purged by the helper.
  std::size_t resting() const {
    const SpanPool<Os>* own = own_.load(std::memory_order_acquire);
    const bool purged = own != nullptr && helper_purges_.load(std::memory_order_relaxed);
    return purged ? own->totals().touched : 0;
  }

  /// What its backing was given as context; null without one.
  void* backing_context() const {
    const SpanPool<Os>* own = own_.load(std::memory_order_acquire);
    return own == nullptr ? nullptr : own->backing().context;
  }

  /// At least `size` bytes at a multiple of `alignment`, a power of two; null when memory is
  /// exhausted, the limit reached or the arena destroyed. `zero`: they read as zero.
  void* allocate(std::size_t size, std::size_t alignment, bool zero) {
    if (size == 0) size = 1;
    const std::size_t least = size > alignment ? size : alignment;
    if (least > kMaxSlotBytes) return allocate_large(size, alignment, zero);
    std::uint8_t id = size_class_for(least);
    while (alignment > kSlotAlignment && kClasses[id].slot_bytes % alignment != 0) ++id;
    void* block = nullptr;
    {
      LockGuard guard(lock_);
      block = in_use_ ? take(id) : nullptr;
    }
    if (block != nullptr) unpoison(block, kClasses[id].slot_bytes);
    if (zero && block != nullptr) memset(block, 0, kClasses[id].slot_bytes);
    return block;
  }

  /// Gives a block back that lies in `span`. True if a span went back to the pool with it;
  /// keep_time() is called before that. All under the lock, here and below: a fork in between
  /// would lose the span to the child.
  template <class KeepTime>
  bool free(Span* span, void* block, KeepTime keep_time) {
    LockGuard guard(lock_);
    if (CARREL_UNLIKELY(!owns(span))) Report<Os>::double_free(block);
    Span* empty = span;
    if (span->state == SpanState::kLarge) {
      if (CARREL_UNLIKELY(block != start_of(span))) Report<Os>::interior_pointer(block);
      large_.remove(span);
      live_bytes_ -= span->large_bytes;
    } else {
      empty = put(span, block);
    }
    --live_blocks_;
    if (empty == nullptr) return false;
    disown(empty);
    keep_time();
    if (empty->state == SpanState::kSlab) unmake_slab(empty, context_.metadata);
    pool_->release(empty);
    return true;
  }

  /// Bytes that may be used in a live block that lies in `span`: the caller's own, so that none of
  /// what is read here changes meanwhile.
  std::size_t usable_size(const Span* span, const void* block) const {
    if (CARREL_UNLIKELY(!owns(span))) Report<Os>::invalid_free(block);
    if (span->state == SpanState::kLarge) return span->large_bytes;
    return kClasses[span->size_class].slot_bytes;
  }

  /// Changes a large block's size without moving it; false if that cannot be done.
  bool resize_in_place(Span* span, std::size_t size) {
    LockGuard guard(lock_);
    if (!owns(span) || span->state != SpanState::kLarge || size > kMaxRequestBytes) return false;
    const std::size_t bytes = align_up(size, Os::page_bytes());
    const std::size_t granules = (bytes + kGranuleBytes - 1) >> kGranuleShift;
    if (bytes <= kMaxSlotBytes || granules < span->count / 2 ||
        granules > context_.map.window_granules()) {
      return false;
    }
    const auto count = static_cast<std::uint32_t>(granules);
    if (count > span->count) {
      const std::size_t more = std::size_t{count - span->count} << kGranuleShift;
      if (!may_take(more) || !pool_->grow_in_place(span, count)) return false;
      note_taken(more);
    }
    live_bytes_ += bytes - span->large_bytes;
    span->large_bytes = bytes;
    return true;
  }

  /// Gives every block back at once: the cost is that of the spans. Returns the spans.
  std::size_t reset() {
    LockGuard guard(lock_);
    Span* spans = nullptr;
    Span** end = &spans;
    for (std::uint8_t id = 1; id <= kClassCount; ++id) {
      take_all(bins_[id].open, end);
      take_all(bins_[id].full, end);
    }
    take_all(large_, end);
    live_bytes_ = live_blocks_ = 0;
    return give_back_all(spans);
  }

  /// Gives back the slabs that hold nothing. Not while the arena is in use, perhaps by a walk
  /// whose visitor led here.
  void release_empty() {
    if (!lock_.try_lock()) return;
    Span* empties = nullptr;
    for (std::uint8_t id = 1; id <= kClassCount; ++id) {
      for (Span* slab = bins_[id].open.front(); slab != nullptr;) {
        Span* next = slab->next;
        if (slab->free_slots == kClasses[id].slots) {
          bins_[id].open.remove(slab);
          disown(slab);
          slab->next = empties;
          empties = slab;
        }
        slab = next;
      }
    }
    give_back_all(empties);
    lock_.unlock();
  }

  /// Calls visit(start, bytes) for every live block until it returns false. The arena stands
  /// still meanwhile: visit must not use any arena, nor wait for who does.
  template <class Visit>
  void walk(Visit visit) {
    LockGuard guard(lock_);
    for (std::uint8_t id = 1; id <= kClassCount; ++id) {
      for (const Span* slab = bins_[id].open.front(); slab != nullptr; slab = slab->next) {
        if (!walk_slab(slab, visit)) return;
      }
      for (const Span* slab = bins_[id].full.front(); slab != nullptr; slab = slab->next) {
        if (!walk_slab(slab, visit)) return;
      }
    }
    for (const Span* span = large_.front(); span != nullptr; span = span->next) {
      if (!visit(start_of(span), span->large_bytes)) return;
    }
  }

  /// The live block of this arena that `address` points into, and its size; null if none. Fast
  /// in slabs; for large blocks it goes through all of them.
  void* find(const void* address, std::size_t& bytes) {
    LockGuard guard(lock_);
    const std::size_t index = context_.map.index_of(address);
    if (index < context_.map.granule_count() && context_.map.class_seen_at(index) == map_value_) {
      const Span* span = context_.map.granule(index).span;
      if (span != nullptr && owns(span) && span->state == SpanState::kSlab) {
        return find_slot(span, address, bytes);
      }
    }
    for (const Span* span = large_.front(); span != nullptr; span = span->next) {
      if (index < span->first || index - span->first >= span->count) continue;
      char* start = start_of(span);
      bytes = span->large_bytes;
      return address_of(address) - address_of(start) < bytes ? start : nullptr;
    }
    return nullptr;
  }

  /// No memory beyond this is taken from now on; kNoLimit for none.
  bool set_limit(std::size_t bytes) {
    LockGuard guard(lock_);
    if (!in_use_) return false;
    limit_bytes_ = bytes;
    if (pool_ != &context_.pool && pool_->backing().commit == nullptr) {
      pool_->set_limits(soft_limit_bytes_, bytes);
    }
    return true;
  }

  /// Whether the arena itself is why so large a block cannot be had from it.
  bool refuses(std::size_t size, std::size_t alignment) {
    LockGuard guard(lock_);
    if (size == 0) size = 1;
    const std::size_t least = size > alignment ? size : alignment;
    if (!in_use_ || least > kMaxRequestBytes) return true;
    if (least > kMaxSlotBytes) return !may_take(align_up(size, kGranuleBytes));
    return !may_take(std::size_t{kClasses[size_class_for(least)].granules} << kGranuleShift);
  }

  /// Whom to tell before a request of this arena fails; null for nobody. False for one that is
  /// destroyed.
  using Handler = void (*)();
  bool set_handler(Handler function, void* context) {
    LockGuard guard(lock_);
    if (!in_use_) return false;
    handler_ = function;
    handler_context_ = context;
    return true;
  }
  Handler handler(void*& context) {
    LockGuard guard(lock_);
    context = handler_context_;
    return handler_;
  }

  /// False for one that is destroyed.
  bool totals(ArenaTotals& totals) {
    LockGuard guard(lock_);
    const bool has_own = pool_ != &context_.pool;
    const PoolTotals own = has_own ? pool_->totals() : PoolTotals{};
    const std::uint32_t decay = decay_ms_.load(std::memory_order_relaxed);
    totals = {.live_bytes = live_bytes_,
              .live_blocks = live_blocks_,
              .span_bytes = span_bytes_,
              .peak_bytes = peak_bytes_,
              .limit_bytes = limit_bytes_,
              .allocations = allocations_,
              .soft_limit_bytes = soft_limit_bytes_,
              .free_bytes = own.free << kGranuleShift,
              .purged_bytes = has_own ? (own.purged - purged_before_) << kGranuleShift : 0,
              .decay_ms = has_own ? decay : kHeapsDecay};
    return in_use_;
  }

  // Its own pool's locks too.
  void lock() {
    lock_.lock();
    if (SpanPool<Os>* own = own_.load(std::memory_order_acquire)) {
      own->purging().lock();
      own->lock();
    }
  }
  void unlock() {
    if (SpanPool<Os>* own = own_.load(std::memory_order_acquire)) {
      own->unlock();
      own->purging().unlock();
    }
    lock_.unlock();
  }
  void reset_after_fork() {
    if (SpanPool<Os>* own = own_.load(std::memory_order_acquire)) own->reset_after_fork();
    lock_.reset_after_fork();
  }

 private:
  friend struct HeapLayoutTable;  // says where these are: api/heap_layout.cc
  struct Bin {
    IntrusiveList<Span> open;  // slabs with a free slot
    IntrusiveList<Span> full;
  };

  static void back(SpanPool<Os>& own, const Backing& backing) {
    LockGuard no_purge(own.purging());
    own.set_backing(backing);
  }

  char* start_of(const Span* span) const { return context_.map.address(span->first); }
  bool owns(const Span* span) const {
    return span->arena == id_ && context_.map.class_at(span->first) == map_value_;
  }
  bool may_take(std::size_t bytes) const {
    return span_bytes_ <= limit_bytes_ && bytes <= limit_bytes_ - span_bytes_;
  }
  void note_taken(std::size_t bytes) {
    span_bytes_ += bytes;
    if (span_bytes_ > peak_bytes_) peak_bytes_ = span_bytes_;
  }

  void* take(std::uint8_t id) {
    const ClassInfo& info = kClasses[id];
    Bin& bin = bins_[id];
    Span* slab = bin.open.front();
    if (slab == nullptr) {
      slab = new_slab(id);
      if (slab == nullptr) return nullptr;
      bin.open.push_front(slab);
    }
    std::uint32_t word = slab->first_word;
    while (slab->free_bits[word] == 0) ++word;
    const auto bit = static_cast<unsigned>(std::countr_zero(slab->free_bits[word]));
    slab->free_bits[word] &= slab->free_bits[word] - 1;
    slab->first_word = word;
    if (--slab->free_slots == 0) {
      bin.open.remove(slab);
      bin.full.push_front(slab);
    }
    ++live_blocks_;
    ++allocations_;
    live_bytes_ += info.slot_bytes;
    return start_of(slab) + (std::size_t{word} * 64 + bit) * info.slot_bytes;
  }

  /// Frees a slot; the slab, taken out of its list, if it became empty and is not needed.
  Span* put(Span* slab, void* block) {
    const ClassInfo& info = kClasses[slab->size_class];
    const auto offset = static_cast<std::size_t>(static_cast<char*>(block) - start_of(slab));
    const std::uint32_t slot = slot_index(info, offset);
    if (CARREL_UNLIKELY(std::size_t{slot} * info.slot_bytes != offset || slot >= info.slots)) {
      Report<Os>::interior_pointer(block);
    }
    const std::uint32_t word = slot / 64;
    const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
    if (CARREL_UNLIKELY((slab->free_bits[word] & bit) != 0)) Report<Os>::double_free(block);
    slab->free_bits[word] |= bit;
    if (word < slab->first_word) slab->first_word = word;
    live_bytes_ -= info.slot_bytes;
    Bin& bin = bins_[slab->size_class];
    if (slab->free_slots++ == 0) {
      bin.full.remove(slab);
      bin.open.push_front(slab);
    }
    const bool only_one = bin.open.front() == slab && slab->next == nullptr;
    if (slab->free_slots != info.slots || only_one) return nullptr;
    bin.open.remove(slab);
    return slab;
  }

  Span* new_slab(std::uint8_t id) {
    const ClassInfo& info = kClasses[id];
    const std::size_t bytes = std::size_t{info.granules} << kGranuleShift;
    if (!may_take(bytes)) return nullptr;
    Span* slab = take_span(info.granules, 1, SpanState::kSlab, Density::kDense);
    if (slab == nullptr) return nullptr;
    if (!make_slab(slab, id, kNoShard, context_.metadata)) {
      pool_->release(slab);
      return nullptr;
    }
    slab->arena = id_;
    slab->first_word = 0;
    for (std::uint32_t i = 0; i < slab->count; ++i) {
      context_.map.granule(slab->first + i).span = slab;
      context_.map.set_class(slab->first + i, map_value_);
    }
    note_taken(bytes);
    return slab;
  }

  /// Once more where its own pool is full of what rests there.
  Span* take_span(std::uint32_t count, std::uint32_t align, SpanState state, Density density) {
    Span* span = pool_->allocate(count, align, state, density);
    if (span != nullptr || pool_ == &context_.pool) return span;
    if (pool_->purge_older_than(0, SIZE_MAX) == 0) return nullptr;
    return pool_->allocate(count, align, state, density);
  }

  void* allocate_large(std::size_t size, std::size_t alignment, bool zero) {
    if (size > kMaxRequestBytes || alignment > kMaxRequestBytes) return nullptr;
    const std::size_t bytes = align_up(size, Os::page_bytes());
    const std::size_t granules = (bytes + kGranuleBytes - 1) >> kGranuleShift;
    const std::size_t align = alignment <= kGranuleBytes ? 1 : alignment >> kGranuleShift;
    if (granules + align > context_.map.window_granules()) return nullptr;
    Span* span = nullptr;
    {
      LockGuard guard(lock_);
      if (!in_use_ || !may_take(granules << kGranuleShift)) return nullptr;
      span = take_span(static_cast<std::uint32_t>(granules), static_cast<std::uint32_t>(align),
                       SpanState::kLarge, zero ? Density::kSparse : Density::kDense);
      if (span == nullptr) return nullptr;
      span->large_bytes = bytes;
      span->arena = id_;
      large_.push_front(span);
      ++live_blocks_;
      ++allocations_;
      live_bytes_ += bytes;
      note_taken(granules << kGranuleShift);
      context_.map.set_class(span->first, map_value_);
    }
    if (zero) pool_->zero(span, bytes);  // the block is nobody's yet
    return start_of(span);
  }

  /// Moves a list to the end of a chain of spans to give back, newest first: often that is
  /// downwards in memory. `end` is where the chain's last link is.
  void take_all(IntrusiveList<Span>& list, Span**& end) {
    Span* first = list.front();
    list = {};
    for (Span* span = first; span != nullptr; span = span->next) {
      if (span->state == SpanState::kSlab) __builtin_prefetch(span->free_bits, 1);
      disown(span);
      *end = span;
      end = &span->next;
    }
  }

  /// What was this arena's belongs to nobody until give_back().
  void disown(Span* span) {
    span_bytes_ -= std::size_t{span->count} << kGranuleShift;
    const std::uint32_t entries = span->state == SpanState::kSlab ? span->count : 1;
    for (std::uint32_t i = 0; i < entries; ++i) context_.map.set_class(span->first + i, kNotOurs);
  }

  /// Gives a chain of spans back; returns how many they are.
  std::size_t give_back_all(Span* chain) {
    std::size_t count = 0;
    for (Span* span = chain; span != nullptr; span = span->next) {
      if (span->state == SpanState::kSlab) unmake_slab(span, context_.metadata);
      ++count;
    }
    if (chain != nullptr) pool_->release_chain(chain);
    return count;
  }

  template <class Visit>
  bool walk_slab(const Span* slab, Visit& visit) const {
    const ClassInfo& info = kClasses[slab->size_class];
    for (std::uint32_t slot = 0; slot < info.slots; ++slot) {
      if ((slab->free_bits[slot / 64] >> (slot % 64) & 1) != 0) continue;
      if (!visit(start_of(slab) + std::size_t{slot} * info.slot_bytes,
                 std::size_t{info.slot_bytes})) {
        return false;
      }
    }
    return true;
  }

  void* find_slot(const Span* slab, const void* address, std::size_t& bytes) const {
    const ClassInfo& info = kClasses[slab->size_class];
    const std::size_t offset = address_of(address) - address_of(start_of(slab));
    const std::uint32_t slot = slot_index(info, offset);
    if (slot >= info.slots || (slab->free_bits[slot / 64] >> (slot % 64) & 1) != 0) return nullptr;
    bytes = info.slot_bytes;
    return start_of(slab) + std::size_t{slot} * info.slot_bytes;
  }

  SlabContext<Os>& context_;
  const std::uint32_t id_;
  const std::uint8_t map_value_;
  /// Made when first wanted, and kept for later lives; the decay of what rests there.
  std::atomic<SpanPool<Os>*> own_{nullptr};
  std::atomic<std::uint32_t> decay_ms_{kHeapsDecay};
  std::atomic<bool> can_purge_{true};
  std::atomic<bool> helper_purges_{true};
  std::atomic<std::uint32_t> at_free_tick_{0};  // when a thread that freed last purged there
  Mutex<Os> lock_;                              // guards everything below and the arena's spans
  bool in_use_ = false;
  SpanPool<Os>* pool_ = &context_.pool;  // where its spans are from: the heap's or its own
  std::size_t soft_limit_bytes_ = kNoLimit;
  std::size_t purged_before_ = 0;  // granules, in earlier lives
  Bin bins_[kClassCount + 1];
  IntrusiveList<Span> large_;
  std::size_t live_bytes_ = 0;
  std::size_t live_blocks_ = 0;
  std::size_t span_bytes_ = 0;
  std::size_t peak_bytes_ = 0;
  std::size_t limit_bytes_ = kNoLimit;
  std::uint64_t allocations_ = 0;
  Handler handler_ = nullptr;
  void* handler_context_ = nullptr;
};

}  // namespace carrel::core
