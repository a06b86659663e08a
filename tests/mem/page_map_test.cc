// mem/page_map.h: the window in every kind of address space, growth and its refusal, and
// addresses that are not ours.
#include "mem/page_map.h"

#include <cstring>
#include <vector>

#include "fake_os_test.h"

namespace carrel::core {
namespace {

constexpr std::size_t kWindow = 64 * kGiB;

class PageMapTest : public FakeOsTest {
 protected:
  /// Grows by `count` granules, expected to succeed; returns the first.
  std::uint32_t extend(std::uint32_t count, std::uint32_t wish = 0) {
    std::uint32_t first = 0;
    std::uint32_t added = 0;
    EXPECT_TRUE(map_.extend(count, wish, first, added));
    EXPECT_GE(added, count);
    added_ = added;
    return first;
  }
  bool extension_fails(std::uint32_t count, std::uint32_t wish = 0) {
    std::uint32_t first = 0;
    std::uint32_t added = 0;
    return !map_.extend(count, wish, first, added);
  }
  /// What every new range must be: in the map, without a class, usable, zero.
  void expect_fresh(std::uint32_t first, std::uint32_t count) {
    for (std::uint32_t i = first; i < first + count; ++i) {
      EXPECT_LT(i, map_.granule_count());
      EXPECT_EQ(map_.class_at(i), kNotOurs);
      EXPECT_EQ(map_.granule(i).span, nullptr);
      EXPECT_EQ(map_.granule(i).touched_tick, 0);
      EXPECT_EQ(map_.index_of(map_.address(i)), i);
    }
    const std::size_t bytes = std::size_t{count} << kGranuleShift;
    EXPECT_TRUE(FakeOs::is_usable(map_.address(first), bytes));
    EXPECT_EQ(FakeOs::resident_bytes(map_.address(first), bytes), 0u);
    EXPECT_EQ(address_of(map_.address(first)) % kGranuleBytes, 0u);
    memset(map_.address(first), 1, 1);
    memset(map_.address(first) + bytes - 1, 1, 1);
  }

  PageMap<FakeOs> map_;
  std::uint32_t added_ = 0;
};

TEST_F(PageMapTest, BeforeItsWindowIsChosenNothingIsOurs) {
  int local = 0;
  EXPECT_EQ(map_.class_of(&local), kNotOurs);
  EXPECT_EQ(map_.class_of(nullptr), kNotOurs);
  EXPECT_EQ(map_.granule_count(), 0u);
}

TEST_F(PageMapTest, ReservesItsWindowAtOnceAndMakesNothingUsable) {
  ASSERT_TRUE(map_.initialize(kWindow));
  EXPECT_TRUE(map_.reserved_at_once());
  EXPECT_EQ(map_.window_granules(), kWindow >> kGranuleShift);
  EXPECT_EQ(map_.granule_count(), 0u);
  EXPECT_GE(FakeOs::address_space_bytes(), kWindow);
  EXPECT_LE(FakeOs::address_space_bytes(), kWindow + kWindow / 2048);
  EXPECT_EQ(FakeOs::usable_bytes(), 0u);
}

TEST_F(PageMapTest, GrowsFromTheStartOfItsWindow) {
  ASSERT_TRUE(map_.initialize(kWindow));
  EXPECT_EQ(extend(3), 0u);
  expect_fresh(0, 3);
  EXPECT_EQ(map_.granule_count(), 3u);
  EXPECT_EQ(extend(100), 3u);
  expect_fresh(3, 100);
  EXPECT_EQ(map_.granule_count(), 103u);
}

TEST_F(PageMapTest, EntriesStayWhenItGrows) {
  ASSERT_TRUE(map_.initialize(kWindow));
  Span span;
  for (std::uint32_t i = 0; i < 3000; i += 100) {
    ASSERT_EQ(extend(100), i);
    map_.set_class(i + 7, 5);
    map_.granule(i + 7).span = &span;
    map_.granule(i + 7).touched_tick = 9;
  }
  for (std::uint32_t i = 0; i < 3000; ++i) {
    EXPECT_EQ(map_.class_at(i), i % 100 == 7 ? 5 : kNotOurs);
    EXPECT_EQ(map_.granule(i).span, i % 100 == 7 ? &span : nullptr);
    EXPECT_EQ(map_.granule(i).touched_tick, i % 100 == 7 ? 9 : 0);
  }
  EXPECT_EQ(map_.class_of(map_.address(107) + 65535), 5);
  EXPECT_EQ(map_.span_of(map_.address(107) + 1), &span);
}

TEST_F(PageMapTest, TakesWhatItWishesForIfItCan) {
  ASSERT_TRUE(map_.initialize(kWindow));
  extend(3, 50);
  EXPECT_EQ(added_, 50u);
  extend(60, 50);
  EXPECT_EQ(added_, 60u);
}

TEST_F(PageMapTest, ContentsItselfWithWhatIsNeededWhenTheWishIsRefused) {
  ASSERT_TRUE(map_.initialize(kWindow));
  FakeOs::settings.commit_budget_bytes = 4 * kMiB;
  extend(16, 1000);
  EXPECT_EQ(added_, 16u);
  expect_fresh(0, 16);
  EXPECT_TRUE(extension_fails(1000));
  extend(16, 1000);  // a refusal has left nothing behind that is in the way
  expect_fresh(16, 16);
}

TEST_F(PageMapTest, ExtensionEndsWithTheWindow) {
  FakeOs::settings.max_reservation_bytes = 4 * kGiB;
  ASSERT_TRUE(map_.initialize(4 * kGiB));
  const auto window = static_cast<std::uint32_t>(map_.window_granules());
  ASSERT_EQ(window, 65'536u);
  EXPECT_TRUE(extension_fails(window + 1));
  extend(window - 10);
  EXPECT_TRUE(extension_fails(11));
  extend(1, 11);
  EXPECT_EQ(added_, 1u) << "the wish exceeds the window, the need does not";
  extend(9);
  EXPECT_TRUE(extension_fails(1));
  EXPECT_EQ(map_.granule_count(), window);
}

TEST_F(PageMapTest, EachStepOfAnExtensionMayFail) {
  ASSERT_TRUE(map_.initialize(kWindow));
  extend(1);
  for (int nth = 1;; ++nth) {
    FakeOs::fail_call(static_cast<std::uint64_t>(nth), true);
    const std::size_t before = map_.granule_count();
    const bool failed = extension_fails(5000);
    const bool had_failures = !FakeOs::failing() || failed;
    FakeOs::fail_call(0);
    if (!failed) {
      EXPECT_GE(nth, 3) << "entries, classes and memory each need the system";
      break;
    }
    EXPECT_TRUE(had_failures);
    EXPECT_EQ(map_.granule_count(), before);
    ASSERT_LT(nth, 10);
  }
  expect_fresh(1, 5000);
}

// --- address space that is small ------------------------------------------------------

TEST_F(PageMapTest, In39BitsItsWindowShrinks) {
  FakeOs::settings.max_reservation_bytes = 256 * kGiB;
  ASSERT_TRUE(map_.initialize(1024 * kGiB));
  EXPECT_TRUE(map_.reserved_at_once());
  EXPECT_EQ(map_.window_granules(), 256 * kGiB >> kGranuleShift);
  EXPECT_EQ(extend(10), 0u);
  expect_fresh(0, 10);
}

TEST_F(PageMapTest, AWindowWhoseEntriesFindNoPlaceIsGivenUpWhole) {
  for (std::uint64_t nth = 2; nth <= 3; ++nth) {  // the second and third reservation
    FakeOs::reset();
    PageMap<FakeOs> map;
    FakeOs::fail_call(nth);
    ASSERT_TRUE(map.initialize(kWindow));
    EXPECT_EQ(map.window_granules(), kWindow / 2 >> kGranuleShift);
    EXPECT_LE(FakeOs::address_space_bytes(), kWindow / 2 + kWindow / 4096) << "something leaks";
  }
}

TEST_F(PageMapTest, WithoutAnyReservationItMapsAsItGrows) {
  FakeOs::settings.max_reservation_bytes = kGiB;
  ASSERT_TRUE(map_.initialize(1024 * kGiB));
  EXPECT_FALSE(map_.reserved_at_once());
  const std::uint32_t first = extend(20);
  expect_fresh(first, 20);
}

TEST_F(PageMapTest, WhenNothingCanBeHadItSaysSo) {
  FakeOs::fail_call(1, true);
  EXPECT_FALSE(map_.initialize(kWindow));
  EXPECT_EQ(FakeOs::address_space_bytes(), 0u);
  FakeOs::fail_call(0);
  EXPECT_TRUE(map_.initialize(kWindow)) << "and may be asked again";
}

// --- a limit on address space ---------------------------------------------------------

class LimitedPageMap : public PageMapTest {
 protected:
  LimitedPageMap() { FakeOs::settings.address_space_limit = 2000 * kMiB; }
};

TEST_F(LimitedPageMap, TakesLittleOfIt) {
  ASSERT_TRUE(map_.initialize(1024 * kGiB));
  EXPECT_FALSE(map_.reserved_at_once());
  EXPECT_LE(FakeOs::address_space_bytes(), 2 * kMiB);
  EXPECT_GE(map_.window_granules() << kGranuleShift, 2000 * kMiB);
}

TEST_F(LimitedPageMap, CanUseNearlyAllOfIt) {
  ASSERT_TRUE(map_.initialize(1024 * kGiB));
  std::size_t total = 0;
  std::uint32_t first = 0;
  std::uint32_t added = 0;
  while (map_.extend(16, 160, first, added)) {
    expect_fresh(first, added);
    total += added;
  }
  EXPECT_GE(total << kGranuleShift, 1990 * kMiB);
}

TEST_F(LimitedPageMap, RangesMayLieAnywhereButNeverOverlap) {
  ASSERT_TRUE(map_.initialize(1024 * kGiB));
  FakeOs::settings.ignore_hints = true;
  std::vector<bool> used(map_.window_granules());
  for (std::uint32_t count = 1; count < 60; ++count) {
    const std::uint32_t first = extend(count);
    expect_fresh(first, added_);
    for (std::uint32_t i = first; i < first + added_; ++i) {
      EXPECT_FALSE(used[i]) << i;
      used[i] = true;
    }
  }
}

TEST_F(LimitedPageMap, AsksForThePlaceAfterTheLastOne) {
  ASSERT_TRUE(map_.initialize(1024 * kGiB));
  // The kernel goes downwards, so that above the last mapping there is often no room: make
  // some by reserving more first and giving it back.
  const std::uint32_t first = extend(64);
  FakeOs::unmap(map_.address(first + 32), 32 * kGranuleBytes);
  std::uint32_t next = extend(16);
  if (next == first + 64) return;
  EXPECT_NE(next, first);
  EXPECT_GE(FakeOs::calls(OsCall::kMap), 3u);
  EXPECT_EQ(FakeOs::range_of(OsCall::kMap, 3).start, address_of(map_.address(first + 64)));
}

TEST_F(LimitedPageMap, AMappingOutsideItsWindowIsGivenBack) {
  ASSERT_TRUE(map_.initialize(1024 * kGiB));
  extend(4);
  const std::size_t before = FakeOs::address_space_bytes();
  FakeOs::settings.ignore_hints = true;
  FakeOs::settings.map_place = map_.address(0) - 64 * kMiB;
  EXPECT_TRUE(extension_fails(4));
  EXPECT_EQ(FakeOs::address_space_bytes(), before);
}

TEST_F(LimitedPageMap, RefusalsLeaveNothingBehind) {
  ASSERT_TRUE(map_.initialize(1024 * kGiB));
  extend(4);
  const std::size_t before = FakeOs::address_space_bytes();
  FakeOs::fail_call(1, true);
  EXPECT_TRUE(extension_fails(4));
  EXPECT_EQ(FakeOs::address_space_bytes(), before);
  FakeOs::fail_call(0);
  expect_fresh(extend(4), 4);
}

TEST_F(LimitedPageMap, InitializationMayFailAtEachStepAndBeRepeated) {
  for (std::uint64_t nth = 1; nth <= 2; ++nth) {
    FakeOs::reset();
    FakeOs::settings.address_space_limit = 2000 * kMiB;
    PageMap<FakeOs> map;
    FakeOs::fail_call(nth, true);
    EXPECT_FALSE(map.initialize(1024 * kGiB));
    EXPECT_EQ(FakeOs::address_space_bytes(), 0u) << "step " << nth;
    FakeOs::fail_call(0);
    EXPECT_TRUE(map.initialize(1024 * kGiB));
  }
}

TEST_F(LimitedPageMap, AGenerousLimitIsNotSpentOnEntries) {
  FakeOs::settings.address_space_limit = 256 * kGiB;
  ASSERT_TRUE(map_.initialize(1024 * kGiB));
  EXPECT_LE(FakeOs::address_space_bytes(), 256 * kGiB / 1000);
  expect_fresh(extend(100), 100);
}

// --- addresses that are not ours ------------------------------------------------------

void expect_foreign(const PageMap<FakeOs>& map, const void* pointer) {
  EXPECT_EQ(map.class_of(pointer), kNotOurs) << pointer;
}

TEST_F(PageMapTest, ForeignAddressesAreRefusedWithoutTouchingThem) {
  for (const bool limited : {false, true}) {
    FakeOs::reset();
    if (limited) FakeOs::settings.address_space_limit = 2000 * kMiB;
    PageMap<FakeOs> map;
    ASSERT_TRUE(map.initialize(kWindow));
    std::uint32_t first = 0;
    std::uint32_t added = 0;
    ASSERT_TRUE(map.extend(4, 4, first, added));
    for (std::uint32_t i = first; i < first + 4; ++i) map.set_class(i, 7);
    int local = 0;
    static int global;
    expect_foreign(map, &local);
    expect_foreign(map, &global);
    expect_foreign(map, nullptr);
    expect_foreign(map, reinterpret_cast<void*>(std::uintptr_t{1}));
    expect_foreign(map, reinterpret_cast<void*>(UINTPTR_MAX));
    expect_foreign(map, reinterpret_cast<void*>(std::uintptr_t{1} << 63));
    expect_foreign(map, reinterpret_cast<void*>(&expect_foreign));
    expect_foreign(map, map.address(first) - 1);
    expect_foreign(map, map.address(first + 4));
    EXPECT_EQ(map.class_of(map.address(first)), 7);
    EXPECT_EQ(map.class_of(map.address(first + 4) - 1), 7);
    for (int bit = 0; bit < 64; ++bit) {
      const std::uintptr_t wild = address_of(map.address(first)) ^ std::uintptr_t{1} << bit;
      if (wild >= address_of(map.address(first)) && wild < address_of(map.address(first + 4))) {
        continue;
      }
      expect_foreign(map, reinterpret_cast<void*>(wild));
    }
  }
}

TEST_F(PageMapTest, WorksWithEveryPageSize) {
  for (const std::size_t page : {4 * kKiB, 16 * kKiB, 64 * kKiB}) {
    for (const bool limited : {false, true}) {
      FakeOs::reset();
      FakeOs::settings.page_bytes = page;
      if (limited) FakeOs::settings.address_space_limit = 2000 * kMiB;
      PageMap<FakeOs> map;
      ASSERT_TRUE(map.initialize(kWindow));
      for (int i = 0; i < 30; ++i) {
        std::uint32_t first = 0;
        std::uint32_t added = 0;
        ASSERT_TRUE(map.extend(37, 37, first, added));
        memset(map.address(first), 1, std::size_t{added} << kGranuleShift);
        map.set_class(first, 3);
        map.granule(first + added - 1).touched_tick = 3;
      }
      EXPECT_STREQ(FakeOs::violations(), "");
    }
  }
}

}  // namespace
}  // namespace carrel::core
