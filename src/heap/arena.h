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
      limit_bytes_ = kNoLimit;
      peak_bytes_ = 0;
      allocations_ = 0;
      handler_ = nullptr;
    }
    return true;
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
    context_.pool.release(empty);
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
      if (!may_take(more) || !context_.pool.grow_in_place(span, count)) return false;
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
    if (in_use_) limit_bytes_ = bytes;
    return in_use_;
  }

  /// Whether the arena itself is why so large a block cannot be had from it.
  bool refuses(std::size_t size) {
    LockGuard guard(lock_);
    const std::size_t least = size > kMaxSlotBytes ? size : kGranuleBytes;
    return !in_use_ || size > kMaxRequestBytes || !may_take(align_up(least, kGranuleBytes));
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
    totals = {.live_bytes = live_bytes_,
              .live_blocks = live_blocks_,
              .span_bytes = span_bytes_,
              .peak_bytes = peak_bytes_,
              .limit_bytes = limit_bytes_,
              .allocations = allocations_};
    return in_use_;
  }

  void lock() { lock_.lock(); }
  void unlock() { lock_.unlock(); }
  void reset_after_fork() { lock_.reset_after_fork(); }

 private:
  friend struct HeapLayoutTable;  // says where these are: api/heap_layout.cc
  struct Bin {
    IntrusiveList<Span> open;  // slabs with a free slot
    IntrusiveList<Span> full;
  };

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
    Span* slab = context_.pool.allocate(info.granules, 1, SpanState::kSlab);
    if (slab == nullptr) return nullptr;
    if (!make_slab(slab, id, kNoShard, context_.metadata)) {
      context_.pool.release(slab);
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
      span = context_.pool.allocate(static_cast<std::uint32_t>(granules),
                                    static_cast<std::uint32_t>(align), SpanState::kLarge,
                                    zero ? Density::kSparse : Density::kDense);
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
    if (zero) context_.pool.zero(span, bytes);  // the block is nobody's yet
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
    if (chain != nullptr) context_.pool.release_chain(chain);
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
  Mutex<Os> lock_;  // guards everything below and the arena's spans
  bool in_use_ = false;
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
