// Spans of large blocks that a thread just freed, kept for its next block of the same length.
//
// Basic design: for each length up to 1 MiB a stack of a few places, each one atomic word. Only the
// owning thread puts a span in, with a store; it pops with an exchange. Others may take from any
// place, also with an exchange, so that nothing waits for a thread that is not running. Whoever
// gets a span out of a place has it for itself. Used by heap/span_cache.h, which decides how much
// is kept, and for how long.
#pragma once

#include "base/compiler.h"
#include "mem/span.h"

namespace carrel::core {

/// Where the places for each length of spans begin: shorter ones have more.
struct KeptSpanPlaces {
  /// The longest spans that are kept, in granules.
  static constexpr std::uint32_t kMaxLength = 16;
  std::uint8_t first[kMaxLength + 1] = {};
  constexpr KeptSpanPlaces() {
    for (std::uint32_t length = 1; length <= kMaxLength; ++length) {
      const int places = length <= 4 ? 16 : length <= 8 ? 4 : 2;
      first[length] = static_cast<std::uint8_t>(first[length - 1] + places);
    }
  }
};

class KeptSpans {
 public:
  static constexpr std::uint32_t kMaxLength = KeptSpanPlaces::kMaxLength;

  /// The owner's: the span of this length that it put in last, or null.
  Span* pop(std::size_t length) {
    std::uint8_t& depth = depths_[length - 1];
    while (depth != 0) {
      std::atomic<std::uintptr_t>& place = places_[kPlaces.first[length - 1] + --depth];
      if (place.load(std::memory_order_relaxed) == 0) continue;  // somebody took it
      // Atomic with others' taking. It orders nothing: what is in there this thread put in.
      const std::uintptr_t kept = place.exchange(0, std::memory_order_relaxed);
      if (CARREL_UNLIKELY(kept == 0)) continue;
      granules_ = granules_ - length;
      return span_in(kept);
    }
    return nullptr;
  }

  /// The owner's: whether there is a place for a span of this length.
  bool has_place(std::size_t length) {
    std::uint8_t& depth = depths_[length - 1];
    const std::uint32_t first = kPlaces.first[length - 1];
    if (depth < kPlaces.first[length] - first) return true;
    while (depth != 0 && places_[first + depth - 1].load(std::memory_order_relaxed) == 0) --depth;
    return depth < kPlaces.first[length] - first;
  }

  /// The owner's; there is a place.
  void push(Span* span) {
    const std::size_t length = span->count;
    granules_ = granules_ + length;
    ++pushes_;
    // Release pairs with the acquire in take(): who takes the span sees it whole.
    places_[kPlaces.first[length - 1] + depths_[length - 1]++].store(address_of(span),
                                                                     std::memory_order_release);
  }

  /// The owner's: true now and then, after a push.
  bool many_pushed() const { return pushes_ % 8 == 0; }

  /// Takes out everything, or only what lies there since the last call, and calls visit(span) for
  /// each. From any thread, but by one at a time.
  template <class Visit>
  void take(bool all, Visit visit) {
    for (std::atomic<std::uintptr_t>& place : places_) {
      std::uintptr_t kept = place.load(std::memory_order_relaxed);
      if (kept == 0) continue;
      if (!all && (kept & kSeen) == 0) {
        // Fails if the owner took it: then it is in use, and not to be marked.
        place.compare_exchange_strong(kept, kept | kSeen, std::memory_order_relaxed);
        continue;
      }
      kept = place.exchange(0, std::memory_order_acquire);
      if (kept == 0) continue;
      Span* span = span_in(kept);
      taken_granules_ = taken_granules_ + span->count;
      visit(span);
    }
  }

  /// What is kept. Exact for the owner, except for what is being taken just now.
  std::size_t granules() const { return granules_ - taken_granules_; }

  /// Statistics: large blocks, and their bytes, that got a span here, less those that left one.
  Relaxed<std::size_t> blocks = 0;
  Relaxed<std::size_t> bytes = 0;
  void count(std::size_t more_blocks, std::size_t more_bytes) {
    blocks = blocks + more_blocks;
    bytes = bytes + more_bytes;
  }

 private:
  friend struct HeapLayoutTable;              // says where these are: api/heap_layout.cc
  static constexpr std::uintptr_t kSeen = 1;  // in a place: here when the purger last looked

  CARREL_START_DATA("places") static constexpr KeptSpanPlaces kPlaces{};

  static Span* span_in(std::uintptr_t kept) { return at_address<Span>(kept & ~kSeen); }

  std::uint8_t pushes_ = 0;
  std::uint8_t depths_[kMaxLength] = {};
  Relaxed<std::size_t> granules_ = 0;        // put in less popped, by the owner
  Relaxed<std::size_t> taken_granules_ = 0;  // by others
  std::atomic<std::uintptr_t> places_[kPlaces.first[kMaxLength]] = {};
};

}  // namespace carrel::core
