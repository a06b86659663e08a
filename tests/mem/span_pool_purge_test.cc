// mem/span_pool.h: which pages go back to the system, when, and what stays.
#include <thread>
#include <vector>

#include "span_pool_fixture.h"

namespace carrel::core {
namespace {

class SpanPoolPurge : public SpanPoolFixture {
 protected:
  SpanPoolPurge() { EXPECT_TRUE(initialize()); }

  /// A span whose every page was written to, apart from others.
  Span* used(std::uint32_t count) {
    Span* span = allocate(count);
    allocate(1);  // in use for ever
    touch(span, 'd');
    return span;
  }
  std::vector<Span*> many_used(int how_many, std::uint32_t count) {
    std::vector<Span*> spans;
    for (int i = 0; i < how_many; ++i) spans.push_back(used(count));
    return spans;
  }
  void free_at(std::uint8_t tick, Span* span) {
    pool_.set_tick(tick);
    pool_.release(span);
  }
  void free_all_at(std::uint8_t tick, const std::vector<Span*>& spans) {
    for (Span* span : spans) free_at(tick, span);
  }
  bool is_resident(std::uint32_t first) const {
    return FakeOs::resident_bytes(map_.address(first), kGranuleBytes) != 0;
  }
};

TEST_F(SpanPoolPurge, OnlyWhatIsOldEnoughGoes) {
  Span* spans[2] = {used(3), used(3)};
  const std::uint32_t old = spans[0]->first;
  const std::uint32_t young = spans[1]->first;
  free_at(10, spans[0]);
  free_at(14, spans[1]);
  pool_.set_tick(15);
  EXPECT_EQ(pool_.purge_older_than(5, SIZE_MAX), 3u);
  EXPECT_FALSE(is_resident(old));
  EXPECT_TRUE(is_resident(young));
  EXPECT_EQ(pool_.totals().touched, 3u);
  EXPECT_EQ(pool_.totals().purged, 3u);
  pool_.set_tick(18);
  EXPECT_EQ(pool_.purge_older_than(5, SIZE_MAX), 0u);
  pool_.set_tick(19);
  EXPECT_EQ(pool_.purge_older_than(5, SIZE_MAX), 3u);
  EXPECT_FALSE(is_resident(young));
  walk();
}

TEST_F(SpanPoolPurge, EveryAgeIsCountedExactly) {
  for (int age = 1; age <= 200; age += 13) {
    for (const int start : {1, 100, 200, 254, 255}) {
      const auto tick_after = [start](int elapsed) {
        return static_cast<std::uint8_t>((start - 1 + elapsed) % 255 + 1);
      };
      free_at(static_cast<std::uint8_t>(start), used(2));
      pool_.set_tick(tick_after(age - 1));
      EXPECT_EQ(pool_.purge_older_than(static_cast<std::uint8_t>(age), SIZE_MAX), 0u)
          << age << " from " << start;
      pool_.set_tick(tick_after(age));
      EXPECT_EQ(pool_.purge_older_than(static_cast<std::uint8_t>(age), SIZE_MAX), 2u)
          << age << " from " << start;
    }
  }
}

TEST_F(SpanPoolPurge, AgeZeroMeansEverything) {
  std::vector<Span*> spans;
  for (std::uint8_t tick = 1; tick < 30; ++tick) spans.push_back(used(tick));
  for (std::uint8_t tick = 1; tick < 30; ++tick) free_at(tick, spans[tick - 1u]);
  const std::size_t touched = pool_.totals().touched;
  EXPECT_EQ(pool_.purge_older_than(0, SIZE_MAX), touched);
  EXPECT_EQ(pool_.totals().touched, 0u);
  const WalkTotals totals = walk();
  EXPECT_EQ(totals.touched, 0u);
}

TEST_F(SpanPoolPurge, NothingIsPurgedTwice) {
  free_at(1, used(10));
  pool_.purge_older_than(0, SIZE_MAX);
  const std::uint64_t calls = FakeOs::calls(OsCall::kPurge);
  EXPECT_EQ(pool_.purge_older_than(0, SIZE_MAX), 0u);
  EXPECT_EQ(FakeOs::calls(OsCall::kPurge), calls);
}

TEST_F(SpanPoolPurge, MemoryInUseKeepsItsContents) {
  std::vector<Span*> live;
  for (int i = 0; i < 50; ++i) {
    Span* span = allocate(3);
    touch(span, static_cast<char>(i));
    (i % 2 == 0) ? live.push_back(span) : pool_.release(span);
  }
  pool_.purge_older_than(0, SIZE_MAX);
  for (std::size_t i = 0; i < live.size(); ++i) {
    for (std::size_t at = 0; at < bytes_of(live[i]); at += 4096) {
      ASSERT_EQ(start_of(live[i])[at], static_cast<char>(2 * i));
    }
  }
}

// Old and young granules in one free span, as they come to be when neighbours merge.
TEST_F(SpanPoolPurge, TheOldPartOfAMergedSpanGoesAlone) {
  std::vector<Span*> spans;
  for (int i = 0; i < 9; ++i) {
    spans.push_back(allocate(4));
    touch(spans.back(), 'd');
  }
  const std::uint32_t first = spans[0]->first;
  pool_.set_tick(10);
  for (const int i : {1, 4, 5, 8}) pool_.release(spans[i]);
  pool_.set_tick(20);
  for (const int i : {0, 2, 3, 6, 7}) pool_.release(spans[i]);
  EXPECT_EQ(walk().spans, 1u);
  EXPECT_EQ(pool_.purge_older_than(5, SIZE_MAX), 16u);
  for (std::uint32_t i = 0; i < 9; ++i) {
    const bool old = i == 1 || i == 4 || i == 5 || i == 8;
    EXPECT_EQ(is_resident(first + 4 * i), !old) << i;
  }
  EXPECT_EQ(walk().spans, 1u) << "merged again";
  EXPECT_EQ(FakeOs::calls(OsCall::kPurge), 3u) << "one call for each run";
}

TEST_F(SpanPoolPurge, EveryOldGranuleOfALongSpanGoesAndNoYoungOne) {
  constexpr std::uint32_t kEach = 1000;  // more runs than a batch holds
  std::vector<Span*> spans;
  for (std::uint32_t i = 0; i < 2 * kEach; ++i) touch(spans.emplace_back(allocate(1)), 'd');
  allocate(1);
  std::vector<std::uint32_t> firsts;
  for (const Span* span : spans) firsts.push_back(span->first);
  for (std::size_t i = 0; i < spans.size(); ++i) {
    free_at(i % 2 == 0 || i > kEach ? 1 : 14, spans[i]);
  }
  pool_.set_tick(15);
  const std::size_t old = kEach / 2 + 1 + kEach - 1;
  EXPECT_EQ(pool_.purge_older_than(5, SIZE_MAX), old);
  for (std::size_t i = 0; i < spans.size(); ++i) {
    ASSERT_EQ(is_resident(firsts[i]), i % 2 != 0 && i <= kEach) << i;
  }
  EXPECT_EQ(walk().touched, 2 * kEach - old);
}

TEST_F(SpanPoolPurge, StopsSoonAfterItsLimit) {
  free_all_at(1, many_used(300, 4));
  pool_.set_tick(30);
  const std::size_t purged = pool_.purge_older_than(5, 20);
  EXPECT_GE(purged, 20u);
  EXPECT_LE(purged, 20u + 32 * 64) << "at most one batch more";
  EXPECT_LT(purged, 1200u);
}

TEST_F(SpanPoolPurge, OneCallToTheSystemIsNeverLong) {
  free_at(1, used(1000));
  pool_.purge_older_than(0, SIZE_MAX);
  ASSERT_GE(FakeOs::calls(OsCall::kPurge), 1000u / 64);
  for (std::uint64_t i = 0; i < FakeOs::calls(OsCall::kPurge); ++i) {
    EXPECT_LE(FakeOs::range_of(OsCall::kPurge, i).bytes, 4 * kMiB);
  }
}

TEST_F(SpanPoolPurge, ManySpansOfEveryLength) {
  std::vector<Span*> spans;
  for (std::uint32_t count = 1; count <= 300; count += 3) spans.push_back(used(count));
  free_all_at(5, spans);
  const std::size_t touched = pool_.totals().touched;
  pool_.set_tick(100);
  EXPECT_EQ(pool_.purge_older_than(50, SIZE_MAX), touched);
  EXPECT_EQ(walk().touched, 0u);
}

TEST_F(SpanPoolPurge, RefusalEndsAndCostsNothingButTime) {
  free_all_at(1, many_used(2, 10));
  FakeOs::settings.refuse_purge = true;
  pool_.set_tick(50);
  EXPECT_EQ(pool_.purge_older_than(5, SIZE_MAX), 0u);
  EXPECT_EQ(pool_.totals().touched, 20u);
  EXPECT_EQ(pool_.totals().purged, 0u);
  const std::uint64_t calls = FakeOs::calls(OsCall::kPurge);
  EXPECT_EQ(pool_.purge_older_than(5, SIZE_MAX), 0u);
  EXPECT_EQ(FakeOs::calls(OsCall::kPurge), calls) << "not tried again before it is old again";
  walk();
  FakeOs::settings.refuse_purge = false;
  pool_.set_tick(55);
  EXPECT_EQ(pool_.purge_older_than(5, SIZE_MAX), 20u);
}

TEST_F(SpanPoolPurge, RefusedAtAgeZeroItStillEnds) {
  free_all_at(1, many_used(100, 2));
  FakeOs::settings.refuse_purge = true;
  EXPECT_EQ(pool_.purge_older_than(0, SIZE_MAX), 0u);
  EXPECT_LE(FakeOs::calls(OsCall::kPurge), 100u);
}

TEST_F(SpanPoolPurge, ARefusedSpanIsStillZeroedWhenItMustBe) {
  Span* locked = used(4);
  const std::uint32_t first = locked->first;
  free_at(1, locked);
  FakeOs::settings.refuse_purge = true;
  pool_.purge_older_than(0, SIZE_MAX);
  Span* span = allocate(4);
  ASSERT_EQ(span->first, first);
  pool_.zero(span, bytes_of(span));
  EXPECT_EQ(start_of(span)[0], 0);
}

// While pages are given back the lock is free, and their spans are out of reach.
TEST_F(SpanPoolPurge, ThePoolMayBeUsedWhileItPurges) {
  static SpanPool<FakeOs>* pool;
  static std::vector<Span*> taken;
  pool = &pool_;
  taken.clear();
  free_all_at(1, many_used(10, 4));
  FakeOs::settings.before_call = [](OsCall call, void*, std::size_t) {
    if (call != OsCall::kPurge) return;
    Span* span = pool->allocate(4, 1, SpanState::kLarge);
    ASSERT_NE(span, nullptr);
    taken.push_back(span);
  };
  pool_.purge_older_than(0, SIZE_MAX);
  FakeOs::settings.before_call = nullptr;
  EXPECT_FALSE(taken.empty());
  for (Span* span : taken) {
    touch(span, 'u');
    EXPECT_EQ(span->state, SpanState::kLarge);
  }
  walk();
  for (Span* span : taken) pool_.release(span);
  walk();
}

TEST_F(SpanPoolPurge, ReleasingNextToASpanBeingPurgedIsSafe) {
  static SpanPool<FakeOs>* pool;
  static std::vector<Span*> neighbours;
  pool = &pool_;
  neighbours.clear();
  for (int i = 0; i < 20; ++i) {
    Span* span = allocate(2);
    touch(span);
    if (i % 2 == 0) {
      neighbours.push_back(span);
    } else {
      pool_.release(span);
    }
  }
  FakeOs::settings.before_call = [](OsCall call, void*, std::size_t) {
    if (call != OsCall::kPurge || neighbours.empty()) return;
    pool->release(neighbours.back());
    neighbours.pop_back();
  };
  pool_.purge_older_than(0, SIZE_MAX);
  FakeOs::settings.before_call = nullptr;
  for (Span* span : neighbours) pool_.release(span);
  EXPECT_EQ(walk().spans, 1u);
}

TEST_F(SpanPoolPurge, WorksWithLargePages) {
  for (const std::size_t page : {16 * kKiB, 64 * kKiB}) {
    FakeOs::reset();
    FakeOs::settings.page_bytes = page;
    PageMap<FakeOs> map;
    MetadataArena<FakeOs> metadata;
    SpanPool<FakeOs> pool(map, metadata);
    ASSERT_TRUE(map.initialize(kPoolWindow));
    std::vector<Span*> spans;
    for (std::uint32_t i = 0; i < 100; ++i)
      spans.push_back(pool.allocate(1 + i % 5, 1, SpanState::kLarge));
    std::size_t released = 0;
    for (std::size_t i = 0; i < spans.size(); i += 2) {
      released += spans[i]->count;
      pool.release(spans[i]);
    }
    EXPECT_EQ(pool.purge_older_than(0, SIZE_MAX), released);
    walk_pool(map, pool);
    EXPECT_STREQ(FakeOs::violations(), "");
  }
}

TEST_F(SpanPoolPurge, ThreadsMayAllocateReleaseAndPurgeTogether) {
  std::atomic<bool> stop{false};
  std::atomic<int> errors{0};
  std::thread purger([&] {
    std::uint8_t tick = 1;
    while (!stop.load()) {
      pool_.set_tick(tick);
      tick = static_cast<std::uint8_t>(tick % 255 + 1);
      pool_.purge_older_than(static_cast<std::uint8_t>(tick % 3), SIZE_MAX);
    }
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::vector<Span*> mine;
      for (int i = 0; i < 3000; ++i) {
        if (mine.size() < 20 && (i % 3 != 0 || mine.empty())) {
          Span* span = allocate(1 + static_cast<std::uint32_t>(i + t) % 9);
          start_of(span)[0] = static_cast<char>(t + 1);
          start_of(span)[bytes_of(span) - 1] = static_cast<char>(t + 1);
          mine.push_back(span);
        } else {
          const std::size_t at = static_cast<std::size_t>(i) % mine.size();
          Span* span = mine[at];
          if (start_of(span)[0] != t + 1 || start_of(span)[bytes_of(span) - 1] != t + 1) ++errors;
          pool_.release(span);
          mine.erase(mine.begin() + static_cast<std::ptrdiff_t>(at));
        }
      }
      for (Span* span : mine) pool_.release(span);
    });
  }
  for (std::thread& thread : threads) thread.join();
  stop = true;
  purger.join();
  EXPECT_EQ(errors.load(), 0);
  EXPECT_EQ(walk().in_use, 0u);
}

}  // namespace
}  // namespace carrel::core
