// From an address to what lies there: the window of address space that holds the heap,
// and two arrays with one entry per granule of it.
//
// Basic design: all blocks lie inside one window. Where nothing limits address space, the
// window is reserved once and committed from its start as the heap grows; under a limit
// (ulimit -v) it is a range around the first mapping in which further mappings are asked
// for one by one. Either way a look-up is a subtraction, a bounds check and one load, and
// an address outside the window is refused without touching memory.
//
// The class map's byte says how a block there is freed (see kNotOurs and others below);
// it is all that a cached free reads. The granule array leads to the Span.
//
// Reading is free of locks: a live block's entries were written before the block was
// handed out and change only after it was freed. Writing is guarded by the span pool.
#pragma once

#include <atomic>
#include <cstring>

#include "base/bits.h"
#include "base/compiler.h"
#include "mem/record_pages.h"
#include "mem/span.h"
#include "os/os.h"

namespace carrel::core {

/// Values of the class map. Between them: a size class, 1 to kMaxClassId, whose blocks may
/// enter any thread's cache, or such a class with a group bit (see slab/size_class.h).
inline constexpr std::uint8_t kNotOurs = 0;
inline constexpr std::uint8_t kMaxClassId = 59;
inline constexpr std::uint8_t kGuardedBlock = 60;  // of a sample: see heap/guarded_slots.h
inline constexpr std::uint8_t kSampledBlock = 61;  // small, in a heap profile: see heap/profiler.h
inline constexpr std::uint8_t kArenaBlock = 62;    // of whatever size: see heap/arena.h
inline constexpr std::uint8_t kLargeBlock = 63;

/// What the pool knows of one granule.
struct Granule {
  Relaxed<Span*> span = nullptr;  // valid for a span's first and last granule, in a slab for each
  std::uint8_t touched_tick = 0;  // 0: known to read as zero; else when it became free
  /// In the first granule of each 2 MiB: no huge page may back them (see SpanPool).
  std::atomic<bool> small_pages{false};
  bool collapsed = false;  // there too: is one huge page; the purge thread's own
  Relaxed<std::uint32_t> pool =
      0;  // whose memory it is: 0 the heap's, else lent: see mem/lending.h
};

template <OsLayer Os>
class PageMap {
 public:
  /// Granule index of an address; beyond granule_count() for every foreign address.
  std::size_t index_of(std::uintptr_t address) const { return (address - base_) >> kGranuleShift; }
  std::size_t index_of(const void* pointer) const { return index_of(address_of(pointer)); }

  /// Granules that have entries; grows, never shrinks.
  std::size_t granule_count() const { return granule_count_.load(std::memory_order_relaxed); }

  std::uint8_t class_at(std::size_t index) const {
    return class_map_[index].load(std::memory_order_relaxed);
  }
  std::uint8_t class_of(const void* pointer) const {
    const std::size_t index = index_of(pointer);
    return index < granule_count() ? class_at(index) : kNotOurs;
  }
  /// For looking around: what it says was so, and the granule's span is at least that new.
  std::uint8_t class_seen_at(std::size_t index) const {
    return class_map_[index].load(std::memory_order_acquire);
  }
  /// Sets the entry and returns what it was, in one step.
  std::uint8_t exchange_class(std::size_t index, std::uint8_t value) {
    return class_map_[index].exchange(value, std::memory_order_acq_rel);
  }
  Granule& granule(std::size_t index) const { return granules_[index]; }
  Span* span_of(const void* pointer) const { return granules_[index_of(pointer)].span; }

  char* address(std::size_t index) const {
    return at_address<char>(base_ + (index << kGranuleShift));
  }

  /// Number of the 16 bytes at an address, one per record. For an address that is no multiple of
  /// 16, or foreign, one whose granule (unit >> kUnitShift) is beyond granule_count().
  std::size_t unit_of(const void* pointer) const {
    return std::rotr(address_of(pointer) - base_, kRecordShift);
  }
  static constexpr unsigned kUnitShift = kGranuleShift - 4;

  /// The record of a unit, in a hardened build; see slab/slot_guard.h. There are readable ones
  /// before the first, all zero.
  std::atomic<std::uint8_t>* record(std::size_t unit) const { return records_ + unit; }
  std::atomic<std::uint8_t>* record_at(const void* pointer) const {
    return records_ + ((address_of(pointer) - base_) >> kRecordShift);
  }
  /// Makes them all say what they say at first. Nobody uses these granules.
  void clear_records(std::size_t first, std::size_t count) {
    memset(static_cast<void*>(record_at(address(first))), 0, count * kGranuleRecords);
  }

  /// The same, giving their pages back; false if those are shared with others, or the system
  /// refuses.
  bool purge_records(std::size_t first, std::size_t count) {
    return kGranuleRecords % Os::page_bytes() == 0 &&
           Os::purge(record_at(address(first)), count * kGranuleRecords);
  }

  /// Release, for those who look at the map without having a block there: they see the
  /// granule's span too. Who has a block got it by something that orders these stores.
  void set_class(std::size_t index, std::uint8_t value) {
    class_map_[index].store(value, std::memory_order_release);
  }

  /// Chooses the window. False when not even a small one can be had.
  bool initialize(std::size_t window_bytes) {
    const std::size_t limit = Os::address_space_limit();
    if (limit != SIZE_MAX) {  // a reservation would count against it
      return open_window(limit < window_bytes / 2 ? align_up(2 * limit, kGranuleBytes)
                                                  : window_bytes);
    }
    for (std::size_t bytes = window_bytes; bytes >= kMinReservedBytes; bytes /= 2) {
      if (reserve_window(bytes)) return true;
    }
    return open_window(kOpenWindowBytes);
  }

  /// Adds at least `count` granules to the heap, `wish` if possible: the first of them in
  /// `first`, how many in `added`. They read as zero. False: the system refuses.
  CARREL_COLD bool extend(std::uint32_t count, std::uint32_t wish, std::uint32_t& first,
                          std::uint32_t& added) {
    if (wish < count) wish = count;
    for (std::uint32_t size = wish;; size = count) {
      added = size;
      if (reserved_ ? extend_committed(size, first) : extend_mapped(size, first)) return true;
      if (size == count) return false;
    }
  }

  /// Calls visit(start, bytes) for the part in use of each of the map's own arrays.
  template <class Visit>
  void for_each_table(Visit visit) const {
    const std::size_t page = Os::page_bytes();
    const std::size_t count = granule_count();
    if (count == 0) return;
    visit(reinterpret_cast<const char*>(class_map_), align_up(count, page));
    visit(reinterpret_cast<const char*>(granules_), align_up(count * sizeof(Granule), page));
    if constexpr (kHasRecords) {
      visit(reinterpret_cast<const char*>(records_), align_up(count * kGranuleRecords, page));
    }
  }

  bool reserved_at_once() const { return reserved_; }
  std::size_t window_granules() const { return window_granules_; }

 private:
  // A hardened build has a record for every 16 bytes: a pointer is judged by one more load, without
  // finding its slab.
  static constexpr bool kHasRecords = hardening_of<Os>().check_frees;
  static constexpr int kRecordShift = 4;
  static constexpr std::size_t kGranuleRecords = kGranuleBytes >> kRecordShift;
  /// Bytes before the first record: who looks at the slot before a block need not ask whether it is
  /// the heap's first. Slots have at most half as many units as a page has bytes.
  static std::size_t records_lead() { return Os::page_bytes(); }

  static constexpr std::size_t kMinReservedBytes = 4 * kGiB;
  static constexpr std::size_t kWindowAlignment = 2 * kMiB;  // a huge page
  static constexpr std::size_t kOpenWindowBytes = 64 * kGiB;

  bool reserve_window(std::size_t bytes) {
    const std::size_t granules = bytes >> kGranuleShift;
    void* window = reserve_somewhere(bytes);
    if (window == nullptr) return false;
    const std::size_t class_bytes = align_up(granules, Os::page_bytes());
    const std::size_t entry_bytes = align_up(granules * sizeof(Granule), Os::page_bytes());
    void* classes = reserve_record_pages<Os>(class_bytes);
    void* entries = reserve_record_pages<Os>(entry_bytes);
    if (classes == nullptr || entries == nullptr) {
      Os::unmap(window, bytes);
      if (classes != nullptr) unreserve_record_pages<Os>(classes, class_bytes);
      if (entries != nullptr) unreserve_record_pages<Os>(entries, entry_bytes);
      return false;
    }
    if constexpr (kHasRecords) {
      const std::size_t record_bytes = records_lead() + granules * kGranuleRecords;
      void* records = reserve_record_pages<Os>(record_bytes);
      if (records == nullptr || !Os::commit(records, records_lead())) {
        Os::unmap(window, bytes);
        unreserve_record_pages<Os>(classes, class_bytes);
        unreserve_record_pages<Os>(entries, entry_bytes);
        if (records != nullptr) unreserve_record_pages<Os>(records, record_bytes);
        return false;
      }
      records_ = static_cast<std::atomic<std::uint8_t>*>(records) + records_lead();
    }
    adopt(address_of(window), granules, classes, entries);
    reserved_ = true;
    return true;
  }

  /// The window, in a hardened build at a random place of a range that is larger.
  static void* reserve_somewhere(std::size_t bytes) {
    constexpr std::size_t kSteps = hardening_of<Os>().random_base_steps;
    if constexpr (kSteps != 0) {
      auto* range =
          static_cast<char*>(Os::reserve(bytes + kSteps * kWindowAlignment, kWindowAlignment));
      if (range != nullptr) {
        const std::size_t before = Os::random_word() % kSteps * kWindowAlignment;
        const std::size_t after = kSteps * kWindowAlignment - before;
        if (before != 0) Os::unmap(range, before);
        Os::unmap(range + before + bytes, after);
        return range + before;
      }
    }
    return Os::reserve(bytes, kWindowAlignment);
  }

  /// Under a limit on address space: only the arrays are mapped now, for a window around
  /// the place where the system puts mappings (it goes downwards from there).
  bool open_window(std::size_t bytes) {
    const std::size_t granules = bytes >> kGranuleShift;
    const std::size_t page = Os::page_bytes();
    void* classes = Os::map(nullptr, align_up(granules, page));
    if (classes == nullptr) return false;
    void* entries = Os::map(nullptr, align_up(granules * sizeof(Granule), page));
    if (entries == nullptr) {
      Os::unmap(classes, align_up(granules, page));
      return false;
    }
    if constexpr (kHasRecords) {
      void* records = Os::map(nullptr, records_lead() + granules * kGranuleRecords);
      if (records == nullptr) {
        Os::unmap(classes, align_up(granules, page));
        Os::unmap(entries, align_up(granules * sizeof(Granule), page));
        return false;
      }
      records_ = static_cast<std::atomic<std::uint8_t>*>(records) + records_lead();
    }
    const std::uintptr_t here = align_down(address_of(classes), kWindowAlignment);
    const std::uintptr_t below = align_down(bytes / 4 * 3, kWindowAlignment);
    adopt(here > below + kWindowAlignment ? here - below : kWindowAlignment, granules, classes,
          entries);
    granule_count_.store(granules, std::memory_order_relaxed);
    return true;
  }

  void adopt(std::uintptr_t base, std::size_t granules, void* classes, void* entries) {
    base_ = base;
    window_granules_ = granules;
    class_map_ = static_cast<std::atomic<std::uint8_t>*>(classes);
    granules_ = static_cast<Granule*>(entries);
  }

  bool extend_committed(std::uint32_t count, std::uint32_t& first) {
    const std::size_t old_count = granule_count();
    const std::size_t new_count = old_count + count;
    if (new_count > window_granules_) return false;
    if (!commit_entries(class_map_, sizeof(class_map_[0]), old_count, new_count) ||
        !commit_entries(granules_, sizeof(Granule), old_count, new_count) ||
        (kHasRecords && !commit_entries(records_, kGranuleRecords, old_count, new_count)) ||
        !Os::commit(address(old_count), std::size_t{count} << kGranuleShift)) {
      return false;
    }
    first = static_cast<std::uint32_t>(old_count);
    // Relaxed: a thread can only ask about a new granule after it was handed a block in
    // it, and that hand-over orders this store too.
    granule_count_.store(new_count, std::memory_order_relaxed);
    return true;
  }

  static bool commit_entries(void* array, std::size_t entry_bytes, std::size_t old_count,
                             std::size_t new_count) {
    const std::size_t page = Os::page_bytes();
    const std::size_t old_end = align_up(old_count * entry_bytes, page);
    const std::size_t new_end = align_up(new_count * entry_bytes, page);
    return old_end == new_end || Os::commit(static_cast<char*>(array) + old_end, new_end - old_end);
  }

  bool extend_mapped(std::uint32_t count, std::uint32_t& first) {
    const std::size_t bytes = std::size_t{count} << kGranuleShift;
    if (try_map_at(next_hint_, bytes, first)) return true;
    // Elsewhere, with room to cut an aligned piece out of it.
    auto* start = static_cast<char*>(Os::map(nullptr, bytes + kGranuleBytes));
    if (start == nullptr) return false;
    char* aligned = at_address<char>(align_up(address_of(start), kGranuleBytes));
    char* end = start + bytes + kGranuleBytes;
    if (aligned != start) Os::unmap(start, static_cast<std::size_t>(aligned - start));
    if (end != aligned + bytes) {
      Os::unmap(aligned + bytes, static_cast<std::size_t>(end - (aligned + bytes)));
    }
    return accept(aligned, bytes, first);
  }

  bool try_map_at(void* hint, std::size_t bytes, std::uint32_t& first) {
    if (hint == nullptr) return false;
    void* got = Os::map(hint, bytes);
    if (got == nullptr) return false;
    if (got != hint) {
      Os::unmap(got, bytes);
      return false;
    }
    return accept(got, bytes, first);
  }

  bool accept(void* start, std::size_t bytes, std::uint32_t& first) {
    const std::size_t index = index_of(start);
    if (index >= window_granules_ || window_granules_ - index < bytes >> kGranuleShift) {
      Os::unmap(start, bytes);
      return false;
    }
    first = static_cast<std::uint32_t>(index);
    next_hint_ = static_cast<char*>(start) + bytes;
    return true;
  }

  friend struct HeapLayoutTable;  // says where these are: api/heap_layout.cc
  std::uintptr_t base_ = 0;
  std::atomic<std::size_t> granule_count_{0};
  std::atomic<std::uint8_t>* class_map_ = nullptr;
  Granule* granules_ = nullptr;
  std::atomic<std::uint8_t>* records_ = nullptr;
  std::size_t window_granules_ = 0;
  void* next_hint_ = nullptr;
  bool reserved_ = false;
};

}  // namespace carrel::core
