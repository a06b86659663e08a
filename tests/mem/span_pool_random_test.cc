// mem/span_pool.h under random operations: after each the walker finds the invariants
// whole, no two spans overlap, contents stay, and zeroed memory is zero. In every kind of
// address space, with and without refusals.
//
// A failure prints the seed; run with --gtest_filter=*/SEED_... to see it again.
#include <random>
#include <vector>

#include "span_pool_fixture.h"

namespace carrel::core {
namespace {

struct Setting {
  const char* name;
  std::size_t page_bytes;
  std::size_t address_space_limit;
  std::size_t commit_budget_bytes;
  bool ignore_hints;
  bool refuse_purge;
  unsigned fail_every;  // one in so many operations meets a refusal; 0: never
};
void PrintTo(const Setting& setting, std::ostream* out) { *out << setting.name; }

constexpr Setting kSettings[] = {
    {"plain", 4096, SIZE_MAX, SIZE_MAX, false, false, 0},
    {"failing", 4096, SIZE_MAX, SIZE_MAX, false, false, 5},
    {"budget", 4096, SIZE_MAX, 32 * kMiB, false, false, 0},
    {"limited", 4096, 300 * kMiB, SIZE_MAX, false, false, 0},
    {"limited_scattered", 4096, 300 * kMiB, SIZE_MAX, true, false, 7},
    {"locked", 4096, SIZE_MAX, SIZE_MAX, false, true, 0},
    {"pages_16k", 16 * kKiB, SIZE_MAX, SIZE_MAX, false, false, 9},
    {"pages_64k_limited", 64 * kKiB, 300 * kMiB, SIZE_MAX, false, false, 0},
};

class RandomPool : public SpanPoolFixture,
                   public ::testing::WithParamInterface<std::tuple<unsigned, Setting>> {
 protected:
  struct Live {
    Span* span;
    std::uint64_t stamp;
  };

  /// Marks the first and the last word of each granule.
  void stamp(const Live& live) {
    for (std::uint32_t i = 0; i < live.span->count; ++i) stamp_granule(live, i);
  }
  void stamp_granule(const Live& live, std::uint32_t i) {
    char* start = map_.address(live.span->first + i);
    memcpy(start, &live.stamp, 8);
    memcpy(start + kGranuleBytes - 8, &live.stamp, 8);
  }
  bool has_stamps(const Live& live, std::uint32_t count) const {
    for (std::uint32_t i = 0; i < count; ++i) {
      const char* start = map_.address(live.span->first + i);
      if (memcmp(start, &live.stamp, 8) != 0 ||
          memcmp(start + kGranuleBytes - 8, &live.stamp, 8) != 0) {
        return false;
      }
    }
    return true;
  }
  bool is_zero(const Span* span) const {
    for (std::uint32_t i = 0; i < span->count; ++i) {
      const char* start = map_.address(span->first + i);
      if (FakeOs::resident_bytes(start, kGranuleBytes) == 0) continue;
      if (start[0] != 0 || memcmp(start, start + 1, kGranuleBytes - 1) != 0) return false;
    }
    return true;
  }
};

TEST_P(RandomPool, KeepsItsPromises) {
  const auto& [seed, setting] = GetParam();
  FakeOs::settings.page_bytes = setting.page_bytes;
  FakeOs::settings.address_space_limit = setting.address_space_limit;
  FakeOs::settings.ignore_hints = setting.ignore_hints;
  FakeOs::settings.refuse_purge = setting.refuse_purge;
  ASSERT_TRUE(initialize());
  FakeOs::settings.commit_budget_bytes = setting.commit_budget_bytes;

  std::mt19937_64 random(seed);
  std::vector<Live> live;
  unsigned tick = 1;
  std::size_t exhausted = 0;
  for (int step = 0; step < 1500; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    if (setting.fail_every != 0) {
      FakeOs::fail_call(random() % setting.fail_every == 0 ? 1 + random() % 3 : 0,
                        random() % 2 == 0);
    }
    const unsigned what = static_cast<unsigned>(random() % 100);
    const bool few = live.size() < 5 || (live.size() < 200 && step % 500 < 250);
    Live* victim = live.empty() ? nullptr : &live[random() % live.size()];
    if (what < 45 && few) {
      const auto count =
          static_cast<std::uint32_t>(1 + (random() % 8 == 0 ? random() % 200 : random() % 20));
      const std::uint32_t align = random() % 6 == 0 ? 1u << random() % 7 : 1;
      Span* span = allocate(count, align);
      if (span == nullptr) {
        ++exhausted;
      } else {
        ASSERT_EQ(span->count, count);
        ASSERT_EQ(address_of(start_of(span)) % (align * kGranuleBytes), 0u);
        if (random() % 3 == 0) {
          pool_.zero(span, bytes_of(span));
          ASSERT_TRUE(is_zero(span));
        }
        if (random() % 5 == 0) span->moved_pages = true;
        live.push_back({span, random()});
        stamp(live.back());
      }
    } else if (what < 75 && victim != nullptr) {
      ASSERT_TRUE(has_stamps(*victim, victim->span->count));
      pool_.release(victim->span);
      *victim = live.back();
      live.pop_back();
    } else if (what < 83 && victim != nullptr) {
      const std::uint32_t old_count = victim->span->count;
      const auto count = static_cast<std::uint32_t>(old_count + 1 + random() % 40);
      const bool grown = pool_.grow_in_place(victim->span, count);
      ASSERT_EQ(victim->span->count, grown ? count : old_count);
      ASSERT_TRUE(has_stamps(*victim, old_count));
      stamp(*victim);
    } else if (what < 91 && victim != nullptr && victim->span->count > 1) {
      const std::uint32_t old_count = victim->span->count;
      const auto count = static_cast<std::uint32_t>(1 + random() % (old_count - 1));
      const bool shrunk = pool_.shrink_in_place(victim->span, count);
      ASSERT_EQ(victim->span->count, shrunk ? count : old_count);
      ASSERT_TRUE(has_stamps(*victim, victim->span->count));
    } else if (what < 96) {
      tick = tick % 255 + 1;
      pool_.set_tick(static_cast<std::uint8_t>(tick));
    } else {
      pool_.purge_older_than(static_cast<std::uint8_t>(random() % 6), 1 + random() % 300);
    }
    FakeOs::fail_call(0);
    if (step % 5 == 0) walk();
    if (HasFailure()) return;
  }
  if (setting.commit_budget_bytes != SIZE_MAX) {
    EXPECT_GT(exhausted, 0u) << "the budget was never felt";
  }
  for (const Live& one : live) {
    ASSERT_TRUE(has_stamps(one, one.span->count));
    pool_.release(one.span);
  }
  EXPECT_EQ(walk().in_use, 0u);
  FakeOs::settings.refuse_purge = false;
  pool_.purge_older_than(0, SIZE_MAX);
  EXPECT_EQ(walk().touched, 0u);
}

INSTANTIATE_TEST_SUITE_P(Settings, RandomPool,
                         ::testing::Combine(::testing::Range(1u, 5u),
                                            ::testing::ValuesIn(kSettings)),
                         [](const auto& one) {
                           return std::to_string(std::get<0>(one.param)) + "_" +
                                  std::get<1>(one.param).name;
                         });

}  // namespace
}  // namespace carrel::core
