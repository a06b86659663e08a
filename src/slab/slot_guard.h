// What a hardened build does to a slot when it is handed out and when it comes back.
//
// Basic design: the page map has a record for every 16 bytes of the heap, of which a slot's first
// says: never handed out, free, or live with so many spare bytes behind the block. All others say
// "never handed out". So the exact size of every block is known, and a pointer is judged by one
// load without believing anything that lies in the heap. The spare bytes begin with a canary,
// secret and different for each slot, and are zero from there to the slot's end. A slot that comes
// back is zeroed, and must still be zero when it is handed out again.
//
// hand_out() and resize() are for the slot's owner, who alone has it. take_back() decides in one
// atomic step between callers who free one block at the same time. Nothing here locks or
// allocates. It does not know caches or quarantine (cache/quarantine.h), nor large blocks.
#pragma once

#include "base/report.h"
#include "slab/slab.h"
#include "slab/zero_words.h"

namespace carrel::core {

template <OsLayer Os>
class SlotGuard {
 public:
  static constexpr Hardening kHard = hardening_of<Os>();

  using Map = PageMap<Os>;

  /// Before the first slot is handed out.
  void initialize() {
    secret_ = Os::random_word();
    factor_ = 0x9E3779B97F4A7C15;
    high_bits_ = 0x8080808080808080;
    alone_ = Os::alone_flag();
  }

  /// Short slots, of 16 times their class's number of bytes, are verified and cleared entirely and
  /// in line; for others there is a second set of functions.
  static constexpr bool is_short(std::uint32_t id) {
    return id - 1u < kShortBytes / kSlotAlignment;
  }
  static constexpr std::size_t kLargestShortRequest = kShortBytes - kHard.canary_bytes;
  /// The slot of a request of at most that many bytes.
  static constexpr std::size_t short_slot_for(std::size_t size) {
    return align_up(size + kHard.canary_bytes, kSlotAlignment);
  }

  /// Makes a free short slot a live block of `size` bytes and returns it, all zero.
  CARREL_INLINE void* hand_out_short(const Map& map, void* block, std::size_t slot_bytes,
                                     std::size_t size) const {
    if constexpr (kHard.verify_bytes != 0) {
      if (CARREL_UNLIKELY(!short_slot_is_zero(static_cast<const char*>(block), slot_bytes))) {
        report(map, Misuse::kWriteAfterFree, block, size_class_for(slot_bytes));
      }
    }
    // Relaxed: who frees the block was given it by something that orders this.
    map.record_at(block)->store(static_cast<std::uint8_t>(slot_bytes - size + 1),
                                std::memory_order_relaxed);
    set_canary(block, size);
    return block;
  }

  /// Makes a live block in a short slot a free, cleared slot; any other pointer is reported. `unit`
  /// is the block's, `id` its class.
  CARREL_INLINE void take_back_short(const Map& map, std::size_t unit, void* block,
                                     std::uint32_t class_id) const {
    const auto id = static_cast<std::uint8_t>(class_id);
    const std::size_t slot_bytes = std::size_t{class_id} * kSlotAlignment;
    const Record record = map.record(unit);
    const std::uint32_t value = record->load(std::memory_order_relaxed);
    if (CARREL_UNLIKELY(value - 1 >= kFreeByte - 1)) report(map, value, block, id);
    check_canary(map, block, id, slot_bytes, value - 1);
    if constexpr (kHard.canary_bytes != 0) {
      if (CARREL_UNLIKELY((record - class_id)->load(std::memory_order_relaxed) == kNeverUsed)) {
        check_before_now(map, record - class_id, block, id, slot_bytes);
      }
    }
    if (CARREL_UNLIKELY(!claim(*record, value))) report(map, kFreeByte, block, id);
    if constexpr (kHard.zero_freed) clear_short_slot(static_cast<char*>(block), slot_bytes);
  }

  /// For a pointer into a slab that is no multiple of 16.
  [[noreturn]] CARREL_COLD static void report_misaligned(const Map& map, const void* pointer,
                                                         std::uint8_t id) {
    report(map, kNeverUsed, pointer, id);
  }

  /// Makes a free slot a live block of `size` bytes, at most so much less than the slot as the
  /// class leaves, and returns it, all zero if its slots are verified entirely (reads_as_zero).
  CARREL_INLINE void* hand_out(const Map& map, void* block, std::uint8_t id, std::size_t size) {
    const Record record = map.record_at(block);
    const std::size_t slot_bytes = kClasses[id].slot_bytes;
    if (CARREL_LIKELY(load(record, id) != kNeverUsed)) verify(map, block, id, slot_bytes);
    set_live(record, block, id, slot_bytes, slot_bytes - size);
    return block;
  }

  /// As hand_out, for a slot that may be much larger than the block for the sake of alignment.
  void* hand_out_loose(const Map& map, void* block, std::uint8_t id, std::size_t size) {
    const std::size_t spare = kClasses[id].slot_bytes - size;
    return hand_out(map, block, id, spare > most_spare(id) ? size + spare - most_spare(id) : size);
  }

  /// Makes a live block a free slot, which is still to be cleared; any other pointer is reported.
  CARREL_INLINE void take_back(const Map& map, void* block, std::uint8_t id) {
    check_alignment(map, block, id);
    const Record record = map.record_at(block);
    const std::uint32_t value = load(record, id);
    const std::size_t slot_bytes = kClasses[id].slot_bytes;
    check_canary(map, block, id, slot_bytes, spare_of(map, value, block, id));
    check_before(map, record, block, id, slot_bytes);
    const bool ours =
        CARREL_LIKELY(id < kFirstWideClass) ? claim(*record, value) : claim(wide(record), value);
    if (CARREL_UNLIKELY(!ours)) report(map, free_value(id), block, id);
  }

  static void clear(void* block, std::uint8_t id) {
    if constexpr (kHard.zero_freed) memset(block, 0, kClasses[id].slot_bytes);
  }

  /// The exact size of a live block; any other pointer is reported.
  std::size_t size_of(const Map& map, const void* block, std::uint8_t id) const {
    check_alignment(map, block, id);
    return kClasses[id].slot_bytes - spare_of(map, load(map.record_at(block), id), block, id);
  }

  /// Reports a wrong size of a live block; says nothing of a pointer that is none.
  void check_size(const Map& map, const void* block, std::uint8_t id, std::size_t said) const {
    if (address_of(block) % record_unit(id) != 0) return;
    const std::uint32_t value = load(map.record_at(block), id);
    if (value == kNeverUsed || value == free_value(id)) return;
    const std::size_t size = kClasses[id].slot_bytes - (value - 1);
    // With more spare bytes than a record can count, the size is only known not to be larger.
    if (said == size || (value - 1 == most_spare(id) && said < size)) return;
    Report<Os>::size_mismatch(block, said, size);
  }

  /// Whether a live block of this class can become `size` bytes long where it is.
  static bool fits(std::uint8_t id, std::size_t size) {
    const std::size_t slot_bytes = kClasses[id].slot_bytes;
    return size + kHard.canary_bytes <= slot_bytes && slot_bytes - size <= most_spare(id);
  }

  /// Makes a live block `size` bytes long; what it gains reads as zero.
  void resize(const Map& map, void* block, std::uint8_t id, std::size_t size) {
    const std::size_t slot_bytes = kClasses[id].slot_bytes;
    const std::size_t old_size = size_of(map, block, id);
    check_canary(map, block, id, slot_bytes, slot_bytes - old_size);
    const std::size_t kept = size < old_size ? size : old_size;
    memset(static_cast<char*>(block) + kept, 0, slot_bytes - kept);
    set_live(map.record_at(block), block, id, slot_bytes, slot_bytes - size);
  }

  /// Makes a live block `size` bytes long, or as short as a record can say.
  void shrink(const Map& map, void* block, std::uint8_t id, std::size_t size) {
    const std::size_t slot_bytes = kClasses[id].slot_bytes;
    const std::size_t least = slot_bytes > most_spare(id) ? slot_bytes - most_spare(id) : 0;
    resize(map, block, id, size > least ? size : least);
  }

  /// Whether all of a slot of this class is known to be zero when it is handed out.
  static constexpr bool reads_as_zero(std::uint8_t id) {
    return kHard.zero_freed && kClasses[id].slot_bytes <= kHard.verify_bytes;
  }

 private:
  using Record = std::atomic<std::uint8_t>*;

  static constexpr std::uint32_t kNeverUsed = 0;

  // A byte counts up to 253 spare bytes; slots of more than 1 KiB, which may have more, have room
  // for a second one.
  static constexpr std::uint8_t kFirstWideClass = size_class_for(1025);
  static constexpr std::uint32_t kFreeByte = 0xFF;
  static constexpr std::uint32_t free_value(std::uint8_t id) {
    return id < kFirstWideClass ? kFreeByte : 0xFFFFu;
  }
  static constexpr std::size_t most_spare(std::uint8_t id) { return free_value(id) - 2; }

  /// Slots' addresses are multiples of this, and no two records overlap: slots of more than 1 KiB
  /// are multiples of 256 bytes.
  static constexpr std::size_t record_unit(std::uint8_t id) {
    return id < kFirstWideClass ? kSlotAlignment : 256;
  }
  CARREL_INLINE static void check_alignment(const Map& map, const void* block, std::uint8_t id) {
    if (CARREL_UNLIKELY(address_of(block) % record_unit(id) != 0)) {
      report(map, kNeverUsed, block, id);
    }
  }

  CARREL_INLINE static std::atomic<std::uint16_t>& wide(Record record) {
    return *reinterpret_cast<std::atomic<std::uint16_t>*>(record);
  }
  CARREL_INLINE static std::uint32_t load(Record record, std::uint8_t id) {
    return CARREL_LIKELY(id < kFirstWideClass)
               ? std::uint32_t{record->load(std::memory_order_relaxed)}
               : std::uint32_t{wide(record).load(std::memory_order_relaxed)};
  }
  CARREL_INLINE static void store(Record record, std::uint8_t id, std::size_t value) {
    if (CARREL_LIKELY(id < kFirstWideClass)) {
      record->store(static_cast<std::uint8_t>(value), std::memory_order_relaxed);
    } else {
      wide(record).store(static_cast<std::uint16_t>(value), std::memory_order_relaxed);
    }
  }

  /// Whether no other thread can be freeing the same block: a locked instruction costs a third of a
  /// free. Only this thread can start another, so that the answer holds until the caller returns.
  CARREL_INLINE bool alone() const { return __atomic_load_n(alone_, __ATOMIC_RELAXED) != 0; }

  /// Marks a live block free whose record said `value`. False: meanwhile another thread did. Comes
  /// after all that is read for a free, since what follows a locked instruction must wait for it.
  /// Relaxed: what is done to the block afterwards is this thread's alone until it passes through a
  /// cache or a bin's lock, which order it.
  template <class Value>
  CARREL_INLINE bool claim(std::atomic<Value>& record, std::uint32_t value) const {
    constexpr auto kFree = static_cast<Value>(-1);
    if (CARREL_LIKELY(alone())) {
      record.store(kFree, std::memory_order_relaxed);
      return true;
    }
    return record.exchange(kFree, std::memory_order_relaxed) == value;
  }

  /// Spare bytes behind a live block; a record that says otherwise is reported.
  CARREL_INLINE static std::size_t spare_of(const Map& map, std::uint32_t value, const void* block,
                                            std::uint8_t id) {
    if (CARREL_UNLIKELY(value - 1 >= free_value(id) - 1)) report(map, value, block, id);
    return value - 1;
  }

  CARREL_INLINE void set_live(Record record, void* block, std::uint8_t id, std::size_t slot_bytes,
                              std::size_t spare) const {
    // Relaxed: who frees the block was given it by something that orders this.
    store(record, id, spare + 1);
    set_canary(block, slot_bytes - spare);
  }

  CARREL_INLINE void set_canary(void* block, std::size_t size) const {
    if constexpr (kHard.canary_bytes != 0) {
      std::atomic_thread_fence(std::memory_order_release);  // see check_before_now
      const std::uint64_t canary = canary_of(block);
      __builtin_memcpy(static_cast<char*>(block) + size, &canary, sizeof canary);
    }
  }

  /// The first spare bytes must be the canary, the last ones zero, or the canary's end.
  CARREL_INLINE void check_canary(const Map& map, const void* block, std::uint8_t id,
                                  std::size_t slot_bytes, std::size_t spare) const {
    if constexpr (kHard.canary_bytes != 0) {
      const char* end = static_cast<const char*>(block) + slot_bytes;
      const std::uint64_t canary = canary_of(block);
      std::uint64_t first = 0;
      std::uint64_t last = 0;
      __builtin_memcpy(&first, end - spare, sizeof first);
      __builtin_memcpy(&last, end - sizeof last, sizeof last);
      // The canary's end, none of it if it ends before: in two shifts, without a branch.
      std::size_t apart = spare - sizeof canary;
      if (apart > sizeof canary) apart = sizeof canary;
      CARREL_OPAQUE(apart);
      const std::uint64_t tail = canary >> (apart * 4) >> (apart * 4);
      if (CARREL_UNLIKELY(((first ^ canary) | (last ^ tail)) != 0)) {
        report_overflow(map, block, id, spare);
      }
    }
  }

  [[noreturn]] CARREL_COLD static void report_overflow(const Map& map, const void* block,
                                                       std::uint8_t id, std::size_t spare) {
    // Another thread may have freed and cleared it just now. To exchange is to see that: a plain
    // load might still return what this thread saw before.
    const Record record = map.record_at(block);
    const std::uint32_t value =
        id < kFirstWideClass
            ? std::uint32_t{record->exchange(kFreeByte, std::memory_order_relaxed)}
            : std::uint32_t{wide(record).exchange(0xFFFF, std::memory_order_relaxed)};
    if (value != spare + 1) report(map, value, block, id);
    report(map, Misuse::kOverflow, block, id);
  }

  /// What lies before a block is another's end, whose spare bytes are checked when that one is
  /// freed, a free slot's, verified when it is used again, or was never used: then it is looked at
  /// here.
  CARREL_INLINE static void check_before(const Map& map, Record record, const void* block,
                                         std::uint8_t id, std::size_t slot_bytes) {
    if constexpr (kHard.canary_bytes != 0) {
      const Record before = record - slot_bytes / kSlotAlignment;
      if (CARREL_LIKELY(before->load(std::memory_order_relaxed) != kNeverUsed)) return;
      check_before_now(map, before, block, id, slot_bytes);
    }
  }
  CARREL_INLINE static void check_before_now(const Map& map, Record before, const void* block,
                                             std::uint8_t id, std::size_t slot_bytes) {
    // Not across granules, where the slot before may be another slab's.
    if ((address_of(block) & (kGranuleBytes - 1)) < slot_bytes) return;
    const auto* tail = static_cast<const std::atomic<std::uint64_t>*>(block) - 1;
    // Acquire pairs with the release fence in set_canary: who sees the canary of a slot that was
    // handed out meanwhile sees its record too.
    if (CARREL_UNLIKELY(tail->load(std::memory_order_acquire) != 0) &&
        load(before, id) == kNeverUsed) {
      report(map, Misuse::kUnderflow, block, id);
    }
  }

  /// No byte of it is zero or ASCII, so that text written one byte too far always shows. Not a
  /// cipher: who can read canaries can find the secret.
  CARREL_INLINE std::uint64_t canary_of(const void* block) const {
    return ((address_of(block) ^ secret_) * factor_) | high_bits_;
  }

  CARREL_INLINE static void verify(const Map& map, const void* block, std::uint8_t id,
                                   std::size_t slot_bytes) {
    if constexpr (kHard.verify_bytes != 0) {
      const auto* bytes = static_cast<const char*>(block);
      if (CARREL_UNLIKELY(!words_are_zero<kHard.verify_bytes>(bytes, slot_bytes))) {
        report(map, Misuse::kWriteAfterFree, block, id);
      }
    }
  }

  enum class Misuse { kInterior, kNeverUsed, kFreed, kOverflow, kUnderflow, kWriteAfterFree };

  /// For a pointer whose record says that it is no live block's.
  [[noreturn]] CARREL_COLD static void report(const Map& map, std::uint32_t value,
                                              const void* pointer, std::uint8_t id) {
    const Span* slab = map.span_of(pointer);
    const std::size_t offset = address_of(pointer) - address_of(map.address(slab->first));
    const std::size_t slot_bytes = kClasses[id].slot_bytes;
    const bool interior = offset % slot_bytes != 0 || offset / slot_bytes >= kClasses[id].slots;
    report(map,
           interior              ? Misuse::kInterior
           : value == kNeverUsed ? Misuse::kNeverUsed
                                 : Misuse::kFreed,
           pointer, id);
  }

  [[noreturn]] CARREL_COLD static void report(const Map& map, Misuse misuse, const void* pointer,
                                              std::uint8_t id) {
    const ClassInfo& info = kClasses[id];
    const Span* slab = map.span_of(pointer);
    const char* base = map.address(slab->first);
    const auto offset = static_cast<std::size_t>(static_cast<const char*>(pointer) - base);
    const std::uint64_t slot = slot_index(info, offset);
    TextBuffer<128> around;
    around << ", slot " << slot << " of " << std::uint64_t{info.slots} << " of "
           << std::uint64_t{info.slot_bytes} << " bytes, before it "
           << state_at(map, base, id, slot - 1) << ", after it "
           << state_at(map, base, id, slot + 1);
    switch (misuse) {
      case Misuse::kInterior:
        Report<Os>::interior_pointer(pointer, around.data());
      case Misuse::kNeverUsed:
        Report<Os>::never_handed_out(pointer, around.data());
      case Misuse::kFreed:
        Report<Os>::double_free(pointer, around.data());
      case Misuse::kOverflow:
        Report<Os>::overflow(pointer, around.data());
      case Misuse::kUnderflow:
        Report<Os>::underflow(pointer, around.data());
      case Misuse::kWriteAfterFree:
        break;
    }
    Report<Os>::write_after_free(pointer, around.data());
  }

  static const char* state_at(const Map& map, const char* base, std::uint8_t id,
                              std::uint64_t slot) {
    if (slot >= kClasses[id].slots) return "none";
    const std::uint32_t value = load(map.record_at(base + slot * kClasses[id].slot_bytes), id);
    if (value == kNeverUsed) return "unused";
    return value == free_value(id) ? "free" : "live";
  }

  static constexpr char kNotAlone = 0;

  // Written before the heap is ready, then only read. Of these, only the secret is one: the others
  // are here because reading them is shorter than building them in registers.
  std::uint64_t secret_ = 0;
  std::uint64_t factor_ = 0;
  std::uint64_t high_bits_ = 0;
  const char* alone_ = &kNotAlone;
};

}  // namespace carrel::core
