// Free spans by length, for finding one that is just long enough.
//
// Lengths 1 to kExactBins have a list each, longer ones share one per quarter of a
// doubling. Not thread-safe: the span pool's lock guards it.
#pragma once

#include "base/intrusive_list.h"
#include "mem/span.h"

namespace carrel::core {

class FreeSpans {
 public:
  static constexpr std::uint32_t kBins = 128;

  Span* front(std::uint32_t bin) const { return lists_[bin].front(); }

  void add(Span* span) {
    const std::uint32_t bin = bin_for(span->count);
    lists_[bin].push_front(span);
    nonempty_[bin / 64] |= std::uint64_t{1} << (bin % 64);
  }
  void remove(Span* span) {
    const std::uint32_t bin = bin_for(span->count);
    lists_[bin].remove(span);
    if (lists_[bin].empty()) nonempty_[bin / 64] &= ~(std::uint64_t{1} << (bin % 64));
  }
  /// A shortest list's span that is long enough.
  Span* find(std::uint32_t count) const {
    std::uint32_t bin = bin_for(count);
    if (count > kExactBins) {  // this list's lengths differ
      for (Span* span = lists_[bin].front(); span != nullptr; span = span->next) {
        if (span->count >= count) return span;
      }
      ++bin;
    }
    bin = next_nonempty(bin);
    return bin < kBins ? lists_[bin].front() : nullptr;
  }
  std::uint32_t next_nonempty(std::uint32_t bin) const {
    for (std::uint32_t word = bin / 64; word < kBins / 64; ++word) {
      std::uint64_t bits = nonempty_[word];
      if (word == bin / 64) bits &= ~std::uint64_t{0} << (bin % 64);
      if (bits != 0) return word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
    }
    return kBins;
  }

 private:
  static constexpr std::uint32_t kExactBins = 64;

  static std::uint32_t bin_for(std::uint32_t count) {
    if (count <= kExactBins) return count - 1;
    const unsigned log = floor_log2(count);
    const std::uint32_t quarter = (count >> (log - 2)) & 3;
    const std::uint32_t bin = kExactBins + (log - 6) * 4 + quarter;
    return bin < kBins ? bin : kBins - 1;
  }

  IntrusiveList<Span> lists_[kBins];
  std::uint64_t nonempty_[kBins / 64] = {};
};

}  // namespace carrel::core
