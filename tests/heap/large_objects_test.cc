// heap/large_objects.h: sizes, counts and limits of blocks that are spans of their own.
#include "heap/large_objects.h"

#include <cstring>

#include "fake_os_test.h"
#include "pool_walker.h"

namespace carrel::core {
namespace {

class LargeObjectsTest : public FakeOsTest {
 protected:
  LargeObjectsTest() { EXPECT_TRUE(map_.initialize(64 * kGiB)); }

  char* allocate(std::size_t size, std::size_t alignment = 16, bool zero = false) {
    return static_cast<char*>(large_.allocate(size, alignment, zero));
  }
  const Span* span_of(const char* block) const { return map_.span_of(block); }

  PageMap<FakeOs> map_;
  MetadataArena<FakeOs> metadata_;
  SpanPool<FakeOs> pool_{map_, metadata_};
  ThreadRegistry<FakeOs> registry_{metadata_};
  SpanCache<FakeOs> spans_{map_, pool_, registry_};
  LargeObjects<FakeOs> large_{map_, pool_, spans_};
};

TEST_F(LargeObjectsTest, SizesAreRoundedToPagesAndSpansToGranules) {
  char* block = allocate(100'000);
  EXPECT_EQ(span_of(block)->large_bytes, align_up(100'000, 4096));
  EXPECT_EQ(span_of(block)->count, 2u);
  EXPECT_EQ(span_of(block)->state, SpanState::kLarge);
  EXPECT_EQ(map_.class_of(block), kLargeBlock);
  EXPECT_EQ(map_.class_of(block + kGranuleBytes), kNotOurs) << "only the first granule counts";
}

TEST_F(LargeObjectsTest, CountsBlocksAndBytes) {
  char* a = allocate(100'000);
  char* b = allocate(5 * kMiB);
  EXPECT_EQ(large_.count(), 2u);
  EXPECT_EQ(large_.bytes(), align_up(100'000, 4096) + 5 * kMiB);
  EXPECT_TRUE(large_.resize_in_place(b, 3 * kMiB));
  EXPECT_EQ(large_.bytes(), align_up(100'000, 4096) + 3 * kMiB);
  large_.free(a);
  large_.free(b);
  EXPECT_EQ(large_.count(), 0u);
  EXPECT_EQ(large_.bytes(), 0u);
  EXPECT_EQ(map_.class_of(a), kNotOurs);
  EXPECT_EQ(walk_pool(map_, pool_).in_use, 0u);
}

TEST_F(LargeObjectsTest, AlignmentsWithinAndBeyondAGranule) {
  for (std::size_t alignment = 16; alignment <= 64 * kMiB; alignment *= 2) {
    char* block = allocate(40'000, alignment);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(address_of(block) % alignment, 0u) << alignment;
  }
}

TEST_F(LargeObjectsTest, SizesBeyondTheWindowAreNull) {
  EXPECT_EQ(allocate(65 * kGiB), nullptr);
  EXPECT_EQ(allocate(SIZE_MAX), nullptr);
  EXPECT_EQ(allocate(SIZE_MAX / 2), nullptr);
  EXPECT_EQ(allocate(1, 128 * kGiB), nullptr);
  EXPECT_EQ(allocate(1, std::size_t{1} << 63), nullptr);
  EXPECT_EQ(large_.count(), 0u);
  EXPECT_EQ(pool_.totals().added, 0u);
}

TEST_F(LargeObjectsTest, ImpossibleResizesChangeNothing) {
  char* block = allocate(kMiB);
  EXPECT_FALSE(large_.resize_in_place(block, SIZE_MAX));
  EXPECT_FALSE(large_.resize_in_place(block, SIZE_MAX / 2));
  EXPECT_FALSE(large_.resize_in_place(block, 65 * kGiB));
  EXPECT_EQ(span_of(block)->large_bytes, kMiB);
  EXPECT_EQ(large_.bytes(), kMiB);
}

TEST_F(LargeObjectsTest, ZeroedMeansZeroAlsoWhereUsedBefore) {
  char* block = allocate(3 * kMiB);
  memset(block, 1, 3 * kMiB);
  large_.free(block);
  char* zeroed = allocate(5 * kMiB, 16, true);
  EXPECT_EQ(zeroed[0], 0);
  EXPECT_EQ(memcmp(zeroed, zeroed + 1, 5 * kMiB - 1), 0);
}

TEST_F(LargeObjectsTest, SmallBlocksAreNotWorthMoving) {
  char* block = allocate(100'000);
  EXPECT_EQ(large_.grow_by_moving(block, kMiB, 16), nullptr);
  EXPECT_EQ(FakeOs::calls(OsCall::kMovePages), 0u);
  EXPECT_EQ(large_.count(), 1u);
}

TEST_F(LargeObjectsTest, ARefusedMoveGivesTheTargetBack) {
  FakeOs::settings.refuse_move_pages = true;
  char* block = allocate(kMiB);
  memset(block, 7, kMiB);
  EXPECT_EQ(large_.grow_by_moving(block, 3 * kMiB, 16), nullptr);
  EXPECT_EQ(large_.count(), 1u);
  EXPECT_EQ(large_.bytes(), kMiB);
  EXPECT_EQ(block[kMiB - 1], 7);
  large_.free(block);
  EXPECT_EQ(walk_pool(map_, pool_).in_use, 0u);
}

TEST_F(LargeObjectsTest, WorksWithLargePages) {
  for (const std::size_t page : {16 * kKiB, 64 * kKiB}) {
    FakeOs::reset();
    FakeOs::settings.page_bytes = page;
    PageMap<FakeOs> map;
    MetadataArena<FakeOs> metadata;
    SpanPool<FakeOs> pool(map, metadata);
    ThreadRegistry<FakeOs> registry(metadata);
    SpanCache<FakeOs> spans(map, pool, registry);
    LargeObjects<FakeOs> large(map, pool, spans);
    ASSERT_TRUE(map.initialize(64 * kGiB));
    for (std::size_t size = 1; size < 10 * kMiB; size = size * 3 + 1000) {
      auto* block = static_cast<char*>(large.allocate(size, 16, true));
      ASSERT_NE(block, nullptr);
      EXPECT_EQ(map.span_of(block)->large_bytes % page, 0u);
      EXPECT_GE(map.span_of(block)->large_bytes, size);
      memset(block, 1, map.span_of(block)->large_bytes);
      EXPECT_TRUE(large.resize_in_place(block, size / 2 + 1));
      EXPECT_EQ(map.span_of(block)->large_bytes % page, 0u);
      large.free(block);
    }
    walk_pool(map, pool);
    EXPECT_STREQ(FakeOs::violations(), "");
  }
}

}  // namespace
}  // namespace carrel::core
