// mem/span_pool.h: when huge pages are asked for, when no longer, and that purging does
// not make the system fill the holes again.
#include "span_pool_fixture.h"

namespace carrel::core {
namespace {

constexpr std::size_t kHuge = 2 * kMiB;
constexpr std::size_t kStart = 16 * kMiB;

class HugePages : public SpanPoolFixture {
 protected:
  HugePages() {
    FakeOs::settings.has_huge_pages = true;
    EXPECT_TRUE(initialize());
    pool_.set_huge_start(kStart);
  }

  static std::uint64_t advised() { return FakeOs::calls(OsCall::kAdviseHuge); }
  static std::uint64_t dissuaded() { return FakeOs::calls(OsCall::kAdviseSmall); }

  Span* allocate_mib(std::size_t mib, Density density = Density::kDense) {
    return pool_.allocate(static_cast<std::uint32_t>(mib * kMiB >> kGranuleShift), 1,
                          SpanState::kLarge, density);
  }
  /// Makes the heap so large that everything new is asked to be huge.
  Span* grow_beyond_start() { return allocate_mib(kStart / kMiB + 1); }
};

TEST_F(HugePages, ASmallHeapAsksForNone) {
  touch(allocate_mib(8));
  EXPECT_EQ(advised() + dissuaded(), 0u);
}

TEST_F(HugePages, ALargeHeapAsksForItsNewMemory) {
  grow_beyond_start();
  const std::uint64_t before = advised();
  Span* span = allocate_mib(100);
  ASSERT_GT(advised(), before);
  const OsRange range = FakeOs::range_of(OsCall::kAdviseHuge, advised() - 1);
  EXPECT_LE(range.start, address_of(start_of(span)) + 64 * kMiB);
  EXPECT_GE(range.start + range.bytes, address_of(start_of(span)) + bytes_of(span));
}

TEST_F(HugePages, WhatWillBeSparseIsLeftAlone) {
  grow_beyond_start();
  const std::uint64_t before = advised();
  allocate_mib(100, Density::kSparse);
  EXPECT_EQ(advised(), before);
}

TEST_F(HugePages, ALargeHeapGrowsByWholeHugePages) {
  grow_beyond_start();
  for (int i = 0; i < 30; ++i) {
    allocate_mib(5);
    EXPECT_EQ(address_of(map_.address(map_.granule_count())) % kHuge, 0u);
  }
}

TEST_F(HugePages, UnderALimitOnAddressSpaceThereAreNone) {
  FakeOs::reset();
  FakeOs::settings.has_huge_pages = true;
  FakeOs::settings.address_space_limit = 2000 * kMiB;
  PageMap<FakeOs> map;
  MetadataArena<FakeOs> metadata;
  SpanPool<FakeOs> pool(map, metadata);
  ASSERT_TRUE(map.initialize(kPoolWindow));
  pool.set_huge_start(kStart);
  Span* spans[4];
  for (Span*& span : spans) {
    span = pool.allocate(500, 1, SpanState::kLarge);
    memset(map.address(span->first), 1, 500 * kGranuleBytes);
  }
  pool.release(spans[1]);
  pool.purge_older_than(0, SIZE_MAX);
  pool.collapse_dense();
  // Other people's mappings may lie between ours.
  EXPECT_EQ(advised() + dissuaded() + FakeOs::calls(OsCall::kCollapse), 0u);
}

// --- purging --------------------------------------------------------------------------

TEST_F(HugePages, AHoleIsNotToBeFilledAgain) {
  Span* span = grow_beyond_start();
  touch(span);
  char* inside = at_address<char>(align_up(address_of(start_of(span)), kHuge)) + kHuge;
  pool_.keep_huge_pages_apart(inside + 4096, 8192);
  ASSERT_EQ(dissuaded(), 1u);
  const OsRange range = FakeOs::range_of(OsCall::kAdviseSmall, 0);
  EXPECT_EQ(range.start, address_of(inside));
  EXPECT_EQ(range.bytes, kHuge);
  pool_.keep_huge_pages_apart(inside + 65536, 4096);
  EXPECT_EQ(dissuaded(), 1u) << "said once";
}

TEST_F(HugePages, ARangeOverTwoHugePagesConcernsBoth) {
  Span* span = grow_beyond_start();
  char* huge = at_address<char>(align_up(address_of(start_of(span)), kHuge));
  pool_.keep_huge_pages_apart(huge + kHuge - 4096, 8192);
  EXPECT_EQ(dissuaded(), 2u);
}

TEST_F(HugePages, WhatIsGivenBackWholeMayBeHugeAgain) {
  Span* span = grow_beyond_start();
  const std::uint64_t before = advised();
  char* huge = at_address<char>(align_up(address_of(start_of(span)), kHuge));
  pool_.keep_huge_pages_apart(huge + 4096, 4096);
  pool_.keep_huge_pages_apart(huge, kHuge);
  ASSERT_EQ(advised(), before + 1);
  EXPECT_EQ(FakeOs::range_of(OsCall::kAdviseHuge, before).start, address_of(huge));
  pool_.keep_huge_pages_apart(huge, kHuge);
  EXPECT_EQ(advised(), before + 1) << "said once";
}

TEST_F(HugePages, PurgingAHoleSaysSo) {
  grow_beyond_start();
  Span* hole = allocate(3);
  Span* after = allocate(40);
  touch(hole);
  touch(after);
  pool_.release(hole);
  pool_.purge_older_than(0, SIZE_MAX);
  EXPECT_GE(dissuaded(), 1u);
}

TEST_F(HugePages, InASmallHeapHolesAreNobodysBusiness) {
  touch(allocate_mib(4));
  pool_.keep_huge_pages_apart(map_.address(3), 4096);
  EXPECT_EQ(dissuaded(), 0u);
}

TEST_F(HugePages, TheSystemsBookKeepingIsNotStrained) {
  // Each range with a rule of its own costs the process mappings, of which it has 65,530.
  for (int i = 0; i < 100; ++i) allocate_mib(100, Density::kSparse);
  const std::size_t granules = map_.granule_count();
  for (std::size_t huge = 32; huge + 32 < granules; huge += 32) {
    pool_.keep_huge_pages_apart(map_.address(huge + 3), 4096);
  }
  EXPECT_LE(dissuaded(), 4096u);
  EXPECT_GE(dissuaded(), 1000u);
}

// --- what came before huge pages were asked for ---------------------------------------

TEST_F(HugePages, DenseRangesCollapseOneAtATime) {
  Span* span = allocate_mib(10);
  touch(span);
  const std::size_t first = align_up(address_of(start_of(span)), kHuge);
  const std::size_t ranges = (address_of(start_of(span)) + bytes_of(span) - first) / kHuge;
  std::size_t collapsed = 0;
  for (int i = 0; i < 100 && pool_.may_collapse(); ++i) collapsed += pool_.collapse_dense() ? 1 : 0;
  EXPECT_EQ(collapsed, ranges);
  EXPECT_FALSE(pool_.may_collapse()) << "it must end some day";
}

TEST_F(HugePages, SparseRangesStayAsTheyAre) {
  Span* span = allocate_mib(10);
  for (std::size_t at = 0; at < bytes_of(span); at += 2 * 4096) start_of(span)[at] = 1;
  const std::size_t before = resident(span);
  for (int i = 0; i < 100 && pool_.may_collapse(); ++i) EXPECT_FALSE(pool_.collapse_dense());
  EXPECT_FALSE(pool_.may_collapse());
  EXPECT_EQ(resident(span), before);
}

TEST_F(HugePages, AVerySmallHeapIsNotWorthIt) {
  touch(allocate(16));
  EXPECT_FALSE(pool_.may_collapse());
  EXPECT_FALSE(pool_.collapse_dense());
  EXPECT_EQ(FakeOs::calls(OsCall::kCollapse), 0u);
}

TEST_F(HugePages, SwitchedOffNothingIsAsked) {
  FakeOs::reset();
  PageMap<FakeOs> map;
  MetadataArena<FakeOs> metadata;
  SpanPool<FakeOs> pool(map, metadata);
  ASSERT_TRUE(map.initialize(kPoolWindow));
  Span* span = pool.allocate(2000, 1, SpanState::kLarge);
  memset(map.address(span->first), 1, kMiB);
  EXPECT_FALSE(pool.may_collapse());
  pool.release(span);
  pool.purge_older_than(0, SIZE_MAX);
  EXPECT_EQ(advised() + dissuaded() + FakeOs::calls(OsCall::kCollapse), 0u);
}

}  // namespace
}  // namespace carrel::core
