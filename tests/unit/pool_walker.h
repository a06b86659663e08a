// Walks all granules of a heap and checks what span_pool.h promises about them: every
// granule that was added belongs to exactly one span, both ends of a span lead to its
// description, no two free spans are neighbours, and the totals are the sums.
#pragma once

#include <gtest/gtest.h>

#include <functional>

#include "mem/span_pool.h"
#include "os/fake/fake_os.h"

namespace carrel::core {

/// What a walk found, in granules.
struct WalkTotals {
  std::size_t free = 0;
  std::size_t touched = 0;
  std::size_t in_use = 0;
  std::size_t spans = 0;
};

/// Call while no other thread uses the heap and nothing is being purged.
template <class Os>
WalkTotals walk_pool(const PageMap<Os>& map, const SpanPool<Os>& pool,
                     const std::function<void(const Span&)>& visit = nullptr) {
  WalkTotals totals;
  const Span* last_free = nullptr;
  std::size_t at = 0;
  while (at < map.granule_count()) {
    const Span* span = map.granule(at).span;
    if (span == nullptr) {  // never added
      last_free = nullptr;
      ++at;
      continue;
    }
    if (span->first != at || span->count == 0 || at + span->count > map.granule_count()) {
      ADD_FAILURE() << "granule " << at << " leads to a span of " << span->count << " at "
                    << span->first;
      return totals;
    }
    EXPECT_EQ(map.granule(at + span->count - 1).span, span) << "the end of the span at " << at;
    EXPECT_TRUE(FakeOs::is_usable(map.address(at), std::size_t{span->count} << kGranuleShift))
        << "the span at " << at << " has no memory";
    ++totals.spans;
    const SpanState state = span->state;
    switch (state) {
      case SpanState::kFree: {
        EXPECT_EQ(last_free, nullptr)
            << "free spans at " << last_free->first << " and " << at << " are neighbours";
        last_free = span;
        std::uint32_t touched = 0;
        for (std::uint32_t i = 0; i < span->count; ++i) {
          touched += map.granule(at + i).touched_tick != 0 ? 1 : 0;
          EXPECT_EQ(map.class_at(at + i), kNotOurs) << "free granule " << at + i;
        }
        EXPECT_EQ(span->touched_count, touched) << "the free span at " << at;
        totals.free += span->count;
        totals.touched += touched;
        break;
      }
      case SpanState::kLarge:
      case SpanState::kKept:
      case SpanState::kSlab:
        last_free = nullptr;
        totals.in_use += span->count;
        break;
      case SpanState::kUnused:
      case SpanState::kPurging:
        ADD_FAILURE() << "the span at " << at << " is in state " << static_cast<int>(state);
        break;
    }
    if (visit) visit(*span);
    at += span->count;
  }
  const PoolTotals expected = pool.totals();
  EXPECT_EQ(totals.free, expected.free);
  EXPECT_EQ(totals.touched, expected.touched);
  EXPECT_EQ(totals.free + totals.in_use, expected.added);
  return totals;
}

}  // namespace carrel::core
