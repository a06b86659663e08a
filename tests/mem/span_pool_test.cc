// mem/span_pool.h: allocation, coalescing, alignment, growing and shrinking in place, and
// what is left when the system refuses.
#include <vector>

#include "span_pool_fixture.h"

namespace carrel::core {
namespace {

class SpanPoolTest : public SpanPoolFixture {
 protected:
  SpanPoolTest() { EXPECT_TRUE(initialize()); }
};

TEST_F(SpanPoolTest, AllocatesWhatIsAskedFor) {
  Span* span = allocate(5);
  ASSERT_NE(span, nullptr);
  EXPECT_EQ(span->count, 5u);
  EXPECT_EQ(span->state, SpanState::kLarge);
  EXPECT_EQ(map_.granule(span->first).span, span);
  EXPECT_EQ(map_.granule(span->first + 4).span, span);
  touch(span);
  walk();
  Span* slab = pool_.allocate(1, 1, SpanState::kSlab);
  EXPECT_EQ(slab->state, SpanState::kSlab);
  walk();
}

TEST_F(SpanPoolTest, ASmallHeapTakesLittle) {
  allocate(1);
  EXPECT_LE(pool_.totals().added << kGranuleShift, kMiB);
}

TEST_F(SpanPoolTest, AGrowingHeapAsksTheSystemSeldom) {
  const std::uint64_t before = FakeOs::calls(OsCall::kCommit);
  for (int i = 0; i < 16384; ++i) ASSERT_NE(allocate(1), nullptr);  // 1 GiB
  EXPECT_LE(FakeOs::calls(OsCall::kCommit) - before, 400u);
  EXPECT_LE(pool_.totals().added, 16384u + 16384 / 8 + 16);
}

TEST_F(SpanPoolTest, ReleasedSpansMergeWithBothNeighbours) {
  // In every order of release, three neighbours become one free span.
  constexpr int kOrders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  for (const auto& order : kOrders) {
    Span* spans[3] = {allocate(4), allocate(7), allocate(5)};
    for (const int i : order) {
      pool_.release(spans[i]);
      walk();
    }
    const WalkTotals totals = walk();
    EXPECT_EQ(totals.spans, 1u);
    EXPECT_EQ(totals.free, pool_.totals().added);
  }
}

TEST_F(SpanPoolTest, DescriptionsAreReused) {
  for (int i = 0; i < 100; ++i) pool_.release(allocate(3));
  const std::size_t mapped = metadata_.mapped_bytes();
  for (int i = 0; i < 10'000; ++i) pool_.release(allocate(3));
  EXPECT_EQ(metadata_.mapped_bytes(), mapped);
}

TEST_F(SpanPoolTest, TouchedSpansAreTakenFirst) {
  Span* touched = allocate(1);
  Span* apart = allocate(1);
  touch(touched);
  const std::uint32_t place = touched->first;
  pool_.release(touched);
  Span* again = allocate(1);
  EXPECT_EQ(again->first, place);
  EXPECT_NE(apart->first, place);
}

TEST_F(SpanPoolTest, TheShortestSpanThatFitsIsTaken) {
  Span* holes[3] = {};
  const std::uint32_t lengths[3] = {40, 9, 20};
  for (int i = 0; i < 3; ++i) {
    holes[i] = allocate(lengths[i]);
    allocate(1);  // keeps the holes apart
  }
  std::uint32_t starts[3];
  for (int i = 0; i < 3; ++i) {
    starts[i] = holes[i]->first;
    pool_.release(holes[i]);
  }
  EXPECT_EQ(allocate(9)->first, starts[1]);
  EXPECT_EQ(allocate(15)->first, starts[2]);
  EXPECT_EQ(allocate(30)->first, starts[0]);
  walk();
}

// Beyond 64 granules a list holds spans of different lengths.
TEST_F(SpanPoolTest, LongSpansAreFoundThoughTheirListsAreCoarse) {
  std::vector<Span*> holes;
  for (std::uint32_t length = 60; length <= 340; length += 7) {
    holes.push_back(allocate(length));
    allocate(1);
  }
  for (Span* hole : holes) pool_.release(hole);
  const std::size_t added = pool_.totals().added;
  for (std::uint32_t length = 340; length >= 60; length -= 7) {
    ASSERT_NE(allocate(length), nullptr);
    walk();
  }
  EXPECT_EQ(pool_.totals().added, added) << "all of them fit into what was free";
}

TEST_F(SpanPoolTest, AllFreeMemoryCanBeHadAgainPieceByPiece) {
  std::vector<Span*> spans;
  for (std::uint32_t i = 0; i < 500; ++i) spans.push_back(allocate(1 + i * 7 % 30));
  for (std::size_t i = 0; i < spans.size(); i += 2) pool_.release(spans[i]);
  FakeOs::settings.refuse_commit = true;
  const std::size_t free = pool_.totals().free;
  std::size_t taken = 0;
  while (allocate(1) != nullptr) ++taken;
  EXPECT_EQ(taken, free) << "a free span was lost from the lists";
  EXPECT_EQ(walk().free, 0u);
}

TEST_F(SpanPoolTest, AlignsToGranules) {
  std::vector<Span*> spans;
  for (std::uint32_t align = 1; align <= 1024; align *= 2) {
    for (const std::uint32_t count : {1u, 3u, 64u}) {
      Span* span = allocate(count, align);
      ASSERT_NE(span, nullptr);
      EXPECT_EQ(span->count, count);
      EXPECT_EQ(address_of(start_of(span)) % (align * kGranuleBytes), 0u);
      spans.push_back(span);
      walk();
    }
  }
  for (Span* span : spans) {
    pool_.release(span);
    walk();
  }
}

TEST_F(SpanPoolTest, AlignmentWastesNothing) {
  Span* span = allocate(10, 512);
  const std::size_t free = pool_.totals().free;
  EXPECT_EQ(free + 10, pool_.totals().added) << "what was cut off in front and behind is free";
  pool_.release(span);
  EXPECT_EQ(walk().spans, 1u);
}

TEST_F(SpanPoolTest, MoreThanTheWindowIsRefused) {
  const std::size_t added = pool_.totals().added;
  EXPECT_EQ(allocate(static_cast<std::uint32_t>(map_.window_granules()) + 1), nullptr);
  EXPECT_EQ(pool_.totals().added, added);
  EXPECT_NE(allocate(1), nullptr);
}

// --- growing and shrinking in place ---------------------------------------------------

TEST_F(SpanPoolTest, GrowsIntoTheFreeMemoryThatFollows) {
  Span* span = allocate(4);
  Span* hole = allocate(6);
  allocate(1);
  pool_.release(hole);
  EXPECT_TRUE(pool_.grow_in_place(span, 7));
  EXPECT_EQ(span->count, 7u);
  walk();
  EXPECT_TRUE(pool_.grow_in_place(span, 10)) << "all of what is left";
  walk();
  EXPECT_FALSE(pool_.grow_in_place(span, 11)) << "something lives there";
  EXPECT_EQ(span->count, 10u);
  walk();
}

TEST_F(SpanPoolTest, AFailedGrowthLeavesEverythingAsItWas) {
  Span* span = allocate(4);
  Span* hole = allocate(6);
  allocate(1);
  pool_.release(hole);
  EXPECT_FALSE(pool_.grow_in_place(span, 11));
  EXPECT_EQ(span->count, 4u);
  walk();
}

TEST_F(SpanPoolTest, TheLastSpanGrowsWithTheHeap) {
  Span* span = allocate(4);
  const std::uint32_t first = span->first;
  for (std::uint32_t count : {30u, 100u, 101u, 5000u}) {
    EXPECT_TRUE(pool_.grow_in_place(span, count)) << count;
    EXPECT_EQ(span->count, count);
    EXPECT_EQ(span->first, first);
    walk();
  }
  touch(span);
}

// The heap's end is free but too short: it is made longer by what is missing.
TEST_F(SpanPoolTest, GrowthUsesTheFreeEndOfTheHeapAndMore) {
  for (const std::uint32_t count : {40u, 100u, 300u, 1000u}) {
    SCOPED_TRACE(count);
    Span* span = allocate(1);
    const std::uint32_t end = static_cast<std::uint32_t>(map_.granule_count());
    // Make `span` the last one in use, with some free memory behind it.
    while (span->first + span->count != end) {
      Span* after = map_.granule(span->first + span->count).span;
      if (after->state == SpanState::kFree) break;
      span = allocate(1);
    }
    const std::size_t added = pool_.totals().added;
    const std::uint32_t free_after = end - (span->first + span->count);
    ASSERT_TRUE(pool_.grow_in_place(span, free_after + count));
    EXPECT_LE(pool_.totals().added - added, count + added / 8 + 16);
    walk();
  }
}

TEST_F(SpanPoolTest, ShrinksAndGivesTheRestBack) {
  Span* span = allocate(20);
  touch(span);
  ASSERT_TRUE(pool_.shrink_in_place(span, 7));
  EXPECT_EQ(span->count, 7u);
  EXPECT_EQ(map_.granule(span->first + 6).span, span);
  walk();
  EXPECT_EQ(start_of(span)[6 * kGranuleBytes], 1);
  EXPECT_TRUE(pool_.grow_in_place(span, 20)) << "the rest is free";
  walk();
}

// --- zeroing --------------------------------------------------------------------------

TEST_F(SpanPoolTest, FreshMemoryIsNotWrittenToBeZero) {
  Span* span = allocate(64);
  pool_.zero(span, bytes_of(span));
  EXPECT_EQ(resident(span), 0u);
}

TEST_F(SpanPoolTest, PurgedMemoryIsNotWrittenToBeZero) {
  Span* span = allocate(64);
  touch(span);
  pool_.release(span);
  EXPECT_EQ(pool_.purge_older_than(0, SIZE_MAX), 64u);
  Span* again = allocate(64);
  EXPECT_EQ(resident(again), 0u);
  pool_.zero(again, bytes_of(again));
  EXPECT_EQ(resident(again), 0u);
}

TEST_F(SpanPoolTest, UsedMemoryIsZeroed) {
  for (const std::uint32_t count : {1u, 2u, 40u, 63u, 64u, 65u, 200u}) {  // 4 MiB are 64
    Span* span = allocate(count);
    memset(start_of(span), 0x5A, bytes_of(span));
    pool_.release(span);
    Span* again = allocate(count);
    pool_.zero(again, bytes_of(again));
    const char* p = start_of(again);
    ASSERT_EQ(p[0], 0);
    ASSERT_EQ(memcmp(p, p + 1, bytes_of(again) - 1), 0) << count;
    pool_.release(again);
  }
}

TEST_F(SpanPoolTest, OnlyTheUsedPartsOfAMixedSpanAreWritten) {
  Span* parts[5];
  for (Span*& part : parts) {
    part = allocate(4);
    touch(part, 'x');
  }
  const std::uint32_t first = parts[0]->first;
  ASSERT_EQ(parts[4]->first, first + 16);
  for (const int old : {0, 2, 4}) pool_.release(parts[old]);
  pool_.set_tick(50);
  for (const int young : {1, 3}) pool_.release(parts[young]);
  ASSERT_EQ(pool_.purge_older_than(20, SIZE_MAX), 12u);
  Span* whole = allocate(20);
  ASSERT_EQ(whole->first, first);
  pool_.zero(whole, bytes_of(whole));
  for (int part = 0; part < 5; ++part) {
    const char* p = start_of(whole) + part * 4 * kGranuleBytes;
    if (part % 2 == 0) {
      EXPECT_EQ(FakeOs::resident_bytes(p, 4 * kGranuleBytes), 0u) << part;
    } else {
      EXPECT_EQ(p[0], 0) << part;
      EXPECT_EQ(memcmp(p, p + 1, 4 * kGranuleBytes - 1), 0) << part;
    }
  }
}

TEST_F(SpanPoolTest, ZeroingStopsAtTheBytesAskedFor) {
  Span* span = allocate(4);
  memset(start_of(span), 'x', bytes_of(span));
  pool_.release(span);
  Span* again = allocate(4);
  const std::size_t some = kGranuleBytes + 3 * 4096;
  pool_.zero(again, some);
  const char* p = start_of(again);
  for (std::size_t i = 0; i < some; ++i) ASSERT_EQ(p[i], 0) << i;
  EXPECT_EQ(p[some], 'x');
}

TEST_F(SpanPoolTest, ZeroingLocksOutNothingWhenPurgingIsRefused) {
  FakeOs::settings.refuse_purge = true;
  Span* span = allocate(100);
  memset(start_of(span), 'x', bytes_of(span));
  pool_.release(span);
  Span* again = allocate(100);
  pool_.zero(again, bytes_of(again));
  const char* p = start_of(again);
  EXPECT_EQ(p[0], 0);
  EXPECT_EQ(memcmp(p, p + 1, bytes_of(again) - 1), 0);
}

// --- pages that came by move_pages ----------------------------------------------------

TEST_F(SpanPoolTest, MovedPagesAreReplacedOnRelease) {
  Span* span = allocate(8);
  touch(span);
  span->moved_pages = true;
  const std::uintptr_t start = address_of(start_of(span));
  pool_.release(span);
  ASSERT_EQ(FakeOs::calls(OsCall::kFreshPages), 1u);
  EXPECT_EQ(FakeOs::range_of(OsCall::kFreshPages, 0).start, start);
  EXPECT_EQ(FakeOs::range_of(OsCall::kFreshPages, 0).bytes, 8 * kGranuleBytes);
  EXPECT_EQ(pool_.totals().touched, 0u) << "what is fresh is known to be zero";
  walk();
}

TEST_F(SpanPoolTest, MovedPagesThatStayAreNotTakenForZero) {
  FakeOs::settings.refuse_fresh_pages = true;
  Span* span = allocate(8);
  touch(span, 'm');
  span->moved_pages = true;
  pool_.release(span);
  EXPECT_EQ(pool_.totals().touched, 8u);
  Span* again = allocate(8);
  EXPECT_FALSE(again->moved_pages);
  pool_.zero(again, bytes_of(again));
  EXPECT_EQ(start_of(again)[4096], 0);
}

TEST_F(SpanPoolTest, TheRestOfAShrunkSpanKnowsThatItWasMoved) {
  Span* span = allocate(8);
  touch(span);
  span->moved_pages = true;
  pool_.shrink_in_place(span, 3);
  EXPECT_TRUE(span->moved_pages);
  ASSERT_EQ(FakeOs::calls(OsCall::kFreshPages), 1u);
  EXPECT_EQ(FakeOs::range_of(OsCall::kFreshPages, 0).bytes, 5 * kGranuleBytes);
  walk();
}

// --- exhaustion -----------------------------------------------------------------------

/// Uses up what metadata has at hand, so that the next description needs the system.
void drain_metadata(MetadataArena<FakeOs>& metadata) {
  FakeOs::fail_call(1, true);
  while (metadata.allocate(64) != nullptr) {
  }
  FakeOs::fail_call(0);
}

TEST_F(SpanPoolTest, ShrinkingWithoutMetadataIsRefused) {
  Span* span = allocate(20);
  Span* neighbour = allocate(1);
  ASSERT_EQ(neighbour->first, span->first + 20);
  drain_metadata(metadata_);
  FakeOs::fail_call(1, true);
  EXPECT_FALSE(pool_.shrink_in_place(span, 19));
  EXPECT_EQ(span->count, 20u);
  walk();
  FakeOs::fail_call(0);
  EXPECT_TRUE(pool_.shrink_in_place(span, 19));
  walk();
}

/// What may fail: each is tried with every call to the system refused from the nth on.
struct Attempt {
  const char* name;
  bool (*run)(SpanPool<FakeOs>& pool, Span* victim);
};
void PrintTo(const Attempt& attempt, std::ostream* out) { *out << attempt.name; }

constexpr Attempt kAttempts[] = {
    {"allocate", [](SpanPool<FakeOs>& pool,
                    Span*) { return pool.allocate(700, 1, SpanState::kLarge) != nullptr; }},
    {"allocate aligned", [](SpanPool<FakeOs>& pool,
                            Span*) { return pool.allocate(5, 4, SpanState::kLarge) != nullptr; }},
    {"allocate aligned and long",
     [](SpanPool<FakeOs>& pool, Span*) {
       return pool.allocate(700, 64, SpanState::kLarge) != nullptr;
     }},
    {"grow", [](SpanPool<FakeOs>& pool, Span* victim) { return pool.grow_in_place(victim, 900); }},
    {"grow a little",
     [](SpanPool<FakeOs>& pool, Span* victim) { return pool.grow_in_place(victim, 31); }},
    {"shrink",
     [](SpanPool<FakeOs>& pool, Span* victim) { return pool.shrink_in_place(victim, 1); }},
    {"purge",
     [](SpanPool<FakeOs>& pool, Span*) { return pool.purge_older_than(0, SIZE_MAX) != 0; }},
    {"purge what is old",
     [](SpanPool<FakeOs>& pool, Span*) { return pool.purge_older_than(20, SIZE_MAX) != 0; }},
};

/// The attempt, and how many descriptions of spans it finds ready: with few of them it can
/// stop between its steps. -1: as many as it wants, unless the system refuses.
class SpanPoolExhaustion : public FakeOsTest,
                           public ::testing::WithParamInterface<std::tuple<Attempt, int>> {
 protected:
  /// Leaves exactly `spare` descriptions within reach.
  static void starve(SpanPool<FakeOs>& pool, MetadataArena<FakeOs>& metadata, int spare) {
    std::vector<void*> records;
    for (int i = 0; i < spare; ++i) records.push_back(metadata.allocate(sizeof(Span)));
    drain_metadata(metadata);
    FakeOs::fail_call(1, true);
    while (pool.allocate(1, 1, SpanState::kLarge) != nullptr) {  // each takes one for the rest
    }
    FakeOs::fail_call(0);
    for (void* record : records) metadata.release(record, sizeof(Span));
  }
};

TEST_P(SpanPoolExhaustion, LeavesTheInvariantsWholeAtEveryStep) {
  const auto& [attempt, spare] = GetParam();
  for (std::uint64_t nth = 1;; ++nth) {
    SCOPED_TRACE("from call " + std::to_string(nth));
    FakeOs::reset();
    PageMap<FakeOs> map;
    MetadataArena<FakeOs> metadata;
    SpanPool<FakeOs> pool(map, metadata);
    ASSERT_TRUE(map.initialize(kPoolWindow));
    // Free spans with used memory between, the middle of each freed long before its ends.
    std::vector<Span*> spans;
    for (int i = 0; i < 20; ++i) spans.push_back(pool.allocate(10, 1, SpanState::kLarge));
    Span* victim = pool.allocate(30, 1, SpanState::kLarge);
    for (std::size_t i = 1; i < spans.size(); i += 4) pool.release(spans[i]);
    pool.set_tick(50);
    for (std::size_t i = 0; i < spans.size(); i += 4) pool.release(spans[i]);
    for (std::size_t i = 2; i < spans.size(); i += 4) pool.release(spans[i]);
    pool.set_tick(55);
    if (spare >= 0) starve(pool, metadata, spare);
    const std::uint64_t before = FakeOs::failures();
    FakeOs::fail_call(nth, true);
    const bool success = attempt.run(pool, victim);
    const bool refused = FakeOs::failures() != before;
    FakeOs::fail_call(0);
    walk_pool(map, pool);
    if (!refused) {
      EXPECT_TRUE(success);
      break;
    }
    // The pool works again as soon as the system gives memory.
    EXPECT_NE(pool.allocate(2000, 32, SpanState::kLarge), nullptr);
    for (const std::size_t i : {3u, 7u, 15u}) pool.release(spans[i]);
    walk_pool(map, pool);
    if (HasFailure()) return;
    ASSERT_LT(nth, 100u);
  }
}

INSTANTIATE_TEST_SUITE_P(Attempts, SpanPoolExhaustion,
                         ::testing::Combine(::testing::ValuesIn(kAttempts),
                                            ::testing::Range(-1, 4)),
                         [](const auto& one) {
                           std::string name = std::get<0>(one.param).name;
                           for (char& c : name) c = c == ' ' ? '_' : c;
                           const int spare = std::get<1>(one.param);
                           return spare < 0
                                      ? name
                                      : name + "_with_" + std::to_string(spare) + "_descriptions";
                         });

TEST_F(SpanPoolTest, WithoutMetadataFreeMemoryIsWholeAfterwards) {
  std::vector<Span*> spans;
  for (int i = 0; i < 10; ++i) spans.push_back(allocate(20));
  for (int i = 0; i < 10; i += 2) pool_.release(spans[i]);
  drain_metadata(metadata_);
  FakeOs::fail_call(1, true);
  // Taking a part of a free span needs a description for the rest.
  EXPECT_EQ(allocate(3), nullptr);
  EXPECT_EQ(allocate(3, 4), nullptr);
  EXPECT_NE(allocate(20), nullptr) << "a whole one does not";
  pool_.purge_older_than(0, SIZE_MAX);
  walk();
  FakeOs::fail_call(0);
  for (int i = 1; i < 10; i += 2) pool_.release(spans[i]);
  walk();
}

}  // namespace
}  // namespace carrel::core
