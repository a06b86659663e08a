// Sampled blocks of a hardened build: each alone in a slot of its own, between fences.
//
// Basic design: a slot is a run of granules, all of it fenced but the pages of the block that lives
// there. A block ends where its last page does, or begins where its first one does; what its pages
// have room for besides is filled with a pattern that is looked at when the block is freed. A freed
// block's pages are fenced too, and its slot waits behind all others that wait. There are a limited
// number of slots, made 32 at a time and never given back; where none is to be had, a block is not
// sampled. Each keeps the stacks of the block's allocation and of its free, so that a fault there
// can be explained.
//
// Which allocations are sampled is the thread cache's and the heap's business (count_ready in
// cache/thread_cache.h, heap/hardened_heap.h), what is said of a fault heap/faults.h's.
//
// Thread-safe. The lock, of rank 2, guards who waits and what was made; a live slot belongs to its
// block's owner, and explaining takes no lock. Under the lock, a slot that is neither live nor
// being moved waits: so a child of fork loses none. A stack is read without it, and the system is
// called without it but to make or to mend a slot.
#pragma once

#include <new>

#include "base/report.h"
#include "mem/span_pool.h"
#include "slab/random_slots.h"

namespace carrel::core {

/// Return addresses, innermost first, as many as a sampled block keeps.
struct ShortTrace {
  static constexpr std::uint32_t kMaxFrames = 32;
  const void* frames[kMaxFrames] = {};
  std::uint32_t depth = 0;
};

struct GuardedSlot {
  enum State : std::uint32_t {
    kUnused,
    kLive,
    kMoving,  // being taken or freed
    kFreed,
    kBroken,  // free, but perhaps not all fenced: so that it is, before it is used again
  };
  std::atomic<std::uint32_t> state{kUnused};
  // Written by whoever has the slot; read by anyone.
  Relaxed<char*> block = nullptr;
  Relaxed<std::size_t> size = 0;
  Relaxed<char*> pages = nullptr;  // the block's
  Relaxed<std::size_t> page_bytes = 0;
  std::uint16_t next = 0;  // among those that wait; guarded by the lock
  ShortTrace allocated;
  ShortTrace freed;
};

/// The block that a fault has to do with.
struct FaultedBlock {
  const void* start = nullptr;
  std::size_t size = 0;
  bool freed = false;
  const GuardedSlot* slot = nullptr;  // of a sampled one
};

struct GuardedTotals {
  std::size_t slots = 0;  // that were ever made
  std::size_t live_blocks = 0;
  std::size_t live_page_bytes = 0;
  std::size_t sampled = 0;  // since the start
};

template <OsLayer Os>
class GuardedSlots {
 public:
  static constexpr std::uint32_t kMostSlots = hardening_of<Os>().guarded_slots;
  static constexpr std::uint32_t kSlotsPerSpan = 32;
  /// A slot is used again only when so many wait.
  static constexpr std::uint32_t kLeastWaiting = 16;
  static constexpr std::size_t kMostBytes = kMaxSlotBytes;

  /// Fills in return addresses, innermost first; returns how many.
  using ReadStack = std::size_t (*)(const void** frames, std::size_t capacity);

  constexpr GuardedSlots(PageMap<Os>& map, SpanPool<Os>& pool, MetadataArena<Os>& metadata)
      : map_(map), pool_(pool), metadata_(metadata) {}
  GuardedSlots(const GuardedSlots&) = delete;
  GuardedSlots& operator=(const GuardedSlots&) = delete;

  /// Before the first block.
  void initialize(std::uint64_t secret) { random_.seed(secret, 0); }

  /// Until then blocks are sampled without stacks. Innermost frames in this range are left out.
  void set_stack_reader(ReadStack reader, std::uintptr_t hidden_start, std::uintptr_t hidden_end) {
    hidden_start_ = hidden_start;
    hidden_end_ = hidden_end;
    read_stack_.store(reader, std::memory_order_release);  // pairs with the acquire in read()
  }

  /// A block that reads as zero, or null if this one cannot be sampled.
  CARREL_COLD void* allocate(std::size_t size, std::size_t alignment) {
    if (size > kMostBytes || alignment > Os::page_bytes()) return nullptr;
    std::uint64_t random = 0;
    const std::uint32_t index = take(random);
    if (index == kNone) return nullptr;
    GuardedSlot& slot = *slots_[index];
    const std::size_t page = Os::page_bytes();
    const std::size_t bytes = align_up(size, page);
    // The first and the last page of the slot stay fenced.
    const std::size_t spare_pages = (slot_bytes() - bytes) / page - 2;
    char* start = base_of(index) + page * (1 + (random >> 8) % (spare_pages + 1));
    if (bytes != 0 && !Os::unfence(start, bytes)) {
      slot.pages = start;
      slot.page_bytes = bytes;
      leave(index, GuardedSlot::kBroken);  // half of it may be open
      return nullptr;
    }
    // Writing too far is noticed at the free as well: more blocks end at a fence than begin at one.
    const bool left = (random & 3) == 0;
    char* block =
        left ? start : at_address<char>(align_down(address_of(start) + bytes - size, alignment));
    memset(start, kPattern, static_cast<std::size_t>(block - start));
    memset(block + size, kPattern, bytes - static_cast<std::size_t>(block - start) - size);
    slot.block = block;
    slot.size = size;
    slot.pages = start;
    slot.page_bytes = bytes;
    slot.freed.depth = 0;
    read(slot.allocated);
    live_page_bytes_.fetch_add(bytes, std::memory_order_relaxed);  // statistics
    live_blocks_.fetch_add(1, std::memory_order_relaxed);
    sampled_.fetch_add(1, std::memory_order_relaxed);
    // Release: who looks at a live slot sees what is in it.
    slot.state.store(GuardedSlot::kLive, std::memory_order_release);
    return block;
  }

  /// Of a pointer into a slot. What is not a live block's is reported.
  CARREL_COLD void free(void* pointer) {
    GuardedSlot& slot = slot_of_live(pointer);
    std::uint32_t live = GuardedSlot::kLive;
    if (!slot.state.compare_exchange_strong(live, GuardedSlot::kMoving,
                                            std::memory_order_acq_rel)) {
      report_freed(slot, pointer);
    }
    check_edges(slot);
    read(slot.freed);
    live_page_bytes_.fetch_sub(slot.page_bytes, std::memory_order_relaxed);
    live_blocks_.fetch_sub(1, std::memory_order_relaxed);
    const bool fenced = slot.page_bytes == 0 || Os::fence(slot.pages, slot.page_bytes);
    if (!fenced) Os::purge(slot.pages, slot.page_bytes);
    leave(index_of(pointer), fenced ? GuardedSlot::kFreed : GuardedSlot::kBroken);
  }

  /// Makes a live block shorter where it lies; any other pointer is reported.
  CARREL_COLD void shrink(void* pointer, std::size_t size) {
    GuardedSlot& slot = slot_of_live(pointer);
    check_edges(slot);
    if (size >= slot.size) return;
    memset(slot.block + size, kPattern, slot.size - size);
    slot.size = size;
  }

  /// The exact size of a live block; any other pointer is reported.
  CARREL_COLD std::size_t size_of(const void* pointer) const { return slot_of_live(pointer).size; }

  /// Reports a wrong size of a live block; says nothing of a pointer that is none.
  CARREL_COLD void check_size(const void* pointer, std::size_t said) const {
    const GuardedSlot* slot = slots_[index_of(pointer)];
    if (slot == nullptr || slot->block != pointer ||
        slot->state.load(std::memory_order_acquire) != GuardedSlot::kLive) {
      return;
    }
    if (said != slot->size) Report<Os>::size_mismatch(pointer, said, slot->size);
  }

  /// The slot of a block, live or freed, that is nearest to an address in the slots; null if there
  /// was none. Takes no lock and may be called at any moment.
  const GuardedSlot* nearest(const void* address) const {
    const std::uint32_t index = index_of(address);
    const GuardedSlot* best = nullptr;
    std::size_t best_distance = SIZE_MAX;
    for (std::uint32_t i = index == 0 ? 0 : index - 1; i <= index + 1 && i < kMostSlots; ++i) {
      const GuardedSlot* slot = slots_[i];
      if (slot == nullptr || slot->state.load(std::memory_order_acquire) == GuardedSlot::kUnused ||
          slot->block == nullptr) {
        continue;
      }
      const std::size_t distance = distance_to(*slot, address);
      if (distance >= best_distance) continue;
      best = slot;
      best_distance = distance;
    }
    return best;
  }

  GuardedTotals totals() const {
    return {.slots = made_.load(std::memory_order_relaxed),
            .live_blocks = live_blocks_.load(std::memory_order_relaxed),
            .live_page_bytes = live_page_bytes_.load(std::memory_order_relaxed),
            .sampled = sampled_.load(std::memory_order_relaxed)};
  }

  void lock() { lock_.lock(); }
  void unlock() { lock_.unlock(); }
  /// What other threads were about to free or to use when they ceased to exist is free, and they
  /// may have counted it or not.
  void reset_after_fork() {
    lock_.reset_after_fork();
    std::size_t blocks = 0;
    std::size_t bytes = 0;
    for (std::uint32_t i = 0; i < made_.load(std::memory_order_relaxed); ++i) {
      GuardedSlot& slot = *slots_[i];
      const std::uint32_t state = slot.state.load(std::memory_order_relaxed);
      if (state == GuardedSlot::kLive) {
        ++blocks;
        bytes += slot.page_bytes;
      } else if (state == GuardedSlot::kMoving) {
        // Which of its pages the block was to have is not known.
        slot.pages = base_of(i);
        slot.page_bytes = slot_bytes();
        leave(i,
              Os::fence(slot.pages, slot.page_bytes) ? GuardedSlot::kFreed : GuardedSlot::kBroken);
      }
    }
    live_blocks_.store(blocks, std::memory_order_relaxed);
    live_page_bytes_.store(bytes, std::memory_order_relaxed);
  }

 private:
  friend struct HeapLayoutTable;  // says where these are: api/heap_layout.cc
  static constexpr std::uint32_t kNone = 0xFFFF;
  static constexpr unsigned char kPattern = 0xB9;  // no text, no zero, no small number
  static_assert(kMostSlots < kNone && kMostSlots % kSlotsPerSpan == 0);

  static std::size_t granules_per_slot() {
    const std::size_t page = Os::page_bytes();
    return granules_for(align_up(kMostBytes, page) + 2 * page);
  }
  static std::size_t slot_bytes() { return granules_per_slot() << kGranuleShift; }

  /// The number of a slot from an address in its span, whose first word says which slots it has.
  std::uint32_t index_of(const void* pointer) const {
    const std::size_t granule = map_.index_of(pointer);
    const Span* span = map_.granule(granule).span;
    return static_cast<std::uint32_t>(span->inline_bits[0] +
                                      (granule - span->first) / granules_per_slot());
  }
  char* base_of(std::uint32_t index) const {
    return map_.address(spans_[index / kSlotsPerSpan]->first +
                        index % kSlotsPerSpan * granules_per_slot());
  }

  /// A slot, all fenced, in state kMoving, or kNone.
  std::uint32_t take(std::uint64_t& random) {
    LockGuard guard(lock_);
    random = random_.word();
    const std::uint32_t made = made_.load(std::memory_order_relaxed);
    if (made < kMostSlots && make(made)) {
      made_.store(made + 1, std::memory_order_relaxed);
      return made;
    }
    if (waiting_ < kLeastWaiting) return kNone;
    const std::uint32_t index = first_;
    GuardedSlot& slot = *slots_[index];
    const bool broken = slot.state.load(std::memory_order_relaxed) == GuardedSlot::kBroken;
    if (broken && !Os::fence(slot.pages, slot.page_bytes)) return kNone;
    first_ = slot.next;
    --waiting_;
    slot.state.store(GuardedSlot::kMoving, std::memory_order_release);
    return index;
  }

  bool make(std::uint32_t index) {
    // A slot is address space, not memory: a limit on memory would take it for that.
    if (pool_.has_hard_limit()) return false;
    Span*& span = spans_[index / kSlotsPerSpan];
    if (span == nullptr) {
      const auto granules = static_cast<std::uint32_t>(kSlotsPerSpan * granules_per_slot());
      // At a multiple of its length, so that no more huge pages than need be lie beside fences.
      span =
          pool_.allocate(granules, std::bit_floor(granules), SpanState::kLarge, Density::kSparse);
      if (span == nullptr) return false;
      span->inline_bits[0] = index;
      for (std::size_t i = span->first; i < std::size_t{span->first} + granules; ++i) {
        map_.granule(i).span = span;
        map_.set_class(i, kGuardedBlock);
      }
    }
    void* memory = metadata_.allocate(sizeof(GuardedSlot));
    if (memory == nullptr) return false;
    if (!Os::fence(base_of(index), slot_bytes())) {
      metadata_.release(memory, sizeof(GuardedSlot));
      return false;
    }
    auto* slot = ::new (memory) GuardedSlot;
    slot->state.store(GuardedSlot::kMoving, std::memory_order_relaxed);
    slots_[index] = slot;
    return true;
  }

  void leave(std::uint32_t index, GuardedSlot::State state) {
    LockGuard guard(lock_);
    slots_[index]->state.store(state, std::memory_order_release);
    (waiting_ == 0 ? first_ : slots_[last_]->next) = static_cast<std::uint16_t>(index);
    last_ = static_cast<std::uint16_t>(index);
    ++waiting_;
  }

  GuardedSlot& slot_of_live(const void* pointer) const {
    GuardedSlot* slot = slots_[index_of(pointer)];
    if (slot == nullptr || slot->block == nullptr) Report<Os>::invalid_free(pointer);
    if (slot->block != pointer) Report<Os>::interior_pointer(pointer, around(*slot).data());
    if (slot->state.load(std::memory_order_acquire) != GuardedSlot::kLive) {
      report_freed(*slot, pointer);
    }
    return *slot;
  }
  [[noreturn]] CARREL_COLD static void report_freed(const GuardedSlot& slot, const void* pointer) {
    Report<Os>::double_free(pointer, around(slot).data());
  }
  static TextBuffer<64> around(const GuardedSlot& slot) {
    TextBuffer<64> text;
    text << ", a sampled block of " << std::uint64_t{slot.size} << " bytes";
    return text;
  }

  static void check_edges(const GuardedSlot& slot) {
    const char* block = slot.block;
    const char* end = slot.pages + slot.page_bytes;
    for (const char* p = slot.pages; p < block; ++p) {
      if (static_cast<unsigned char>(*p) != kPattern) {
        Report<Os>::underflow(block, around(slot).data());
      }
    }
    for (const char* p = block + slot.size; p < end; ++p) {
      if (static_cast<unsigned char>(*p) != kPattern) {
        Report<Os>::overflow(block, around(slot).data());
      }
    }
  }

  static std::size_t distance_to(const GuardedSlot& slot, const void* address) {
    const std::uintptr_t at = address_of(address);
    const std::uintptr_t start = address_of(slot.block);
    const std::uintptr_t end = start + slot.size;
    return at < start ? start - at : at < end ? 0 : at - end;
  }

  void read(ShortTrace& trace) const {
    trace.depth = 0;
    const ReadStack reader = read_stack_.load(std::memory_order_acquire);
    if (reader == nullptr) return;
    const void* frames[ShortTrace::kMaxFrames + kMostHidden];
    const std::size_t count = reader(frames, ShortTrace::kMaxFrames + kMostHidden);
    std::size_t first = 0;
    while (first < count &&
           address_of(frames[first]) - hidden_start_ < hidden_end_ - hidden_start_) {
      ++first;
    }
    std::uint32_t depth = 0;
    while (first < count && depth < ShortTrace::kMaxFrames) trace.frames[depth++] = frames[first++];
    trace.depth = depth;
  }
  static constexpr std::size_t kMostHidden = 8;

  PageMap<Os>& map_;
  SpanPool<Os>& pool_;
  MetadataArena<Os>& metadata_;
  std::atomic<ReadStack> read_stack_{nullptr};
  std::uintptr_t hidden_start_ = 0;
  std::uintptr_t hidden_end_ = 0;
  Mutex<Os> lock_;  // guards what follows, but for the counters
  RandomSource random_;
  std::uint32_t waiting_ = 0;
  std::uint16_t first_ = 0;  // the one that waits longest
  std::uint16_t last_ = 0;
  Relaxed<GuardedSlot*> slots_[kMostSlots];
  Span* spans_[kMostSlots / kSlotsPerSpan] = {};
  std::atomic<std::uint32_t> made_{0};
  std::atomic<std::size_t> live_blocks_{0};
  std::atomic<std::size_t> live_page_bytes_{0};
  std::atomic<std::size_t> sampled_{0};
};

}  // namespace carrel::core
