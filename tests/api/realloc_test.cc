// realloc and reallocarray: null, zero, growth, shrinking, contents over every change of
// kind (small, medium, large, own mapping), failure that keeps the old block, and large
// growth without copying.
#include <gtest/gtest.h>

#include <malloc.h>
#include <sys/resource.h>

#include "support/blocks.h"
#include "support/override.h"
#include "support/proc.h"

namespace {

using namespace api_test;

const std::size_t kTransitionSizes[] = {
    1,       15,         16,         17,       64,    100,           128,      129,
    1000,    4096,       4097,       16384,    32767, 32768,         32769,    65536,
    65537,   100 * kKiB, 256 * kKiB, kMiB - 1, kMiB,  2 * kMiB - 16, 2 * kMiB, 2 * kMiB + 1,
    5 * kMiB};

TEST(Realloc, OfNullAllocates) {
  for (const std::size_t size : kTransitionSizes) {
    void* block = realloc(nullptr, size);
    ASSERT_NE(block, nullptr);
    EXPECT_TRUE(is_aligned(block, 16));
    std::memset(block, 1, size);
    free(block);
  }
  void* first = realloc(nullptr, 0);
  void* second = realloc(nullptr, 0);
  EXPECT_NE(first, nullptr);
  EXPECT_NE(second, nullptr);
  EXPECT_NE(first, second);
  free(first);
  free(second);
}

TEST(Realloc, ToZeroFreesAndReturnsNull) {
  const long before_kib = rss_kib();
  for (int i = 0; i < 4000; ++i) {
    void* block = malloc(100 * kKiB);
    ASSERT_NE(block, nullptr);
    std::memset(block, 1, 100 * kKiB);
    ASSERT_EQ(realloc(block, 0), nullptr);
  }
  EXPECT_LE(rss_kib() - before_kib, 64 * 1024) << "400 MB went through realloc(block, 0)";
}

TEST(Realloc, KeepsContentsOverEveryTransition) {
  for (const std::size_t from : kTransitionSizes) {
    for (const std::size_t to : kTransitionSizes) {
      void* block = malloc(from);
      ASSERT_NE(block, nullptr);
      fill_words(block, from, from + to);
      block = realloc(block, to);
      ASSERT_NE(block, nullptr);
      EXPECT_TRUE(is_aligned(block, 16));
      EXPECT_GE(malloc_usable_size(block), to);
      const std::size_t kept = std::min(from, to);
      ASSERT_EQ(first_difference(block, kept, from, from + to), kept) << from << " to " << to;
      std::memset(block, 0xee, to);
      free(block);
    }
  }
}

void grow_and_shrink(std::size_t limit, std::size_t multiply, std::size_t divide, std::size_t add) {
  std::size_t size = 1;
  void* block = malloc(size);
  ASSERT_NE(block, nullptr);
  fill_words(block, size, 99);
  std::vector<std::size_t> path;
  while (size < limit) {
    const std::size_t next = size * multiply / divide + add;
    block = realloc(block, next);
    ASSERT_NE(block, nullptr);
    ASSERT_EQ(first_difference(block, size, size, 99), size) << size << " to " << next;
    fill_words(block, next, 99);
    path.push_back(size);
    size = next;
  }
  for (; !path.empty(); path.pop_back()) {
    block = realloc(block, path.back());
    ASSERT_NE(block, nullptr);
    ASSERT_EQ(first_difference(block, path.back(), size, 99), path.back())
        << size << " to " << path.back();
    size = path.back();
    fill_words(block, size, 99);
  }
  free(block);
}

TEST(Realloc, KeepsContentsDoublingTo256MiBAndBack) { grow_and_shrink(256 * kMiB, 2, 1, 0); }
TEST(Realloc, KeepsContentsGrowingByHalfTo150MiB) { grow_and_shrink(150 * kMiB, 3, 2, 1); }
TEST(Realloc, KeepsContentsGrowingByOddSteps) { grow_and_shrink(3 * kMiB, 1, 1, 30001); }
TEST(Realloc, KeepsContentsGrowingByteByByte) { grow_and_shrink(3000, 1, 1, 1); }

TEST(Realloc, FailureKeepsTheOldBlock) {
  for (const std::size_t size : {std::size_t{24}, std::size_t{5000}, 100 * kKiB, 8 * kMiB}) {
    void* block = malloc(size);
    ASSERT_NE(block, nullptr);
    fill_words(block, size, 5);
    for (const std::size_t impossible : impossible_sizes()) {
      errno = 0;
      ASSERT_EQ(realloc(block, opaque_size(impossible)), nullptr);
      EXPECT_EQ(errno, ENOMEM);
    }
    ASSERT_EQ(first_difference(block, size, size, 5), size);
    void* grown = realloc(block, size + 100);
    ASSERT_NE(grown, nullptr) << "the old block must stay resizable";
    EXPECT_EQ(first_difference(grown, size, size, 5), size);
    free(grown);
  }
}

TEST(Realloc, TakesOverAlignedBlocks) {
  for (const std::size_t alignment : {std::size_t{32}, std::size_t{4096}, 64 * kKiB, 4 * kMiB}) {
    for (const std::size_t size : kTransitionSizes) {
      void* block = memalign(alignment, size);
      ASSERT_NE(block, nullptr);
      fill_words(block, size, alignment);
      block = realloc(block, size * 2 + 1);
      ASSERT_NE(block, nullptr);
      ASSERT_EQ(first_difference(block, size, size, alignment), size);
      block = realloc(block, size / 2 + 1);
      ASSERT_NE(block, nullptr);
      const std::size_t kept = std::min(size, size / 2 + 1);
      ASSERT_EQ(first_difference(block, kept, size, alignment), kept);
      free(block);
    }
  }
}

// Growth of a large block moves page tables, not bytes: copying would fault in each page.
TEST(Realloc, GrowsLargeBlocksWithoutCopying) {
  constexpr std::size_t kPages = 128 * kMiB / 4096;
  void* block = malloc(128 * kMiB);
  ASSERT_NE(block, nullptr);
  fill_words(block, 128 * kMiB, 3);
  struct rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  for (std::size_t size = 160 * kMiB; size <= 320 * kMiB; size += 32 * kMiB) {
    block = realloc(block, size);
    ASSERT_NE(block, nullptr);
  }
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LE(static_cast<std::size_t>(after.ru_minflt - before.ru_minflt), kPages / 20);
  EXPECT_EQ(first_difference(block, 128 * kMiB, 128 * kMiB, 3), 128 * kMiB);
  free(block);
}

TEST(Realloc, ShrinkingGivesMemoryBack) {
  for (const std::size_t small : {std::size_t{100}, 40 * kKiB, 4 * kMiB}) {
    carrel_purge();
    const long before_kib = rss_kib();
    void* block = malloc(200 * kMiB);
    ASSERT_NE(block, nullptr);
    fill_words(block, 200 * kMiB, 4);
    block = realloc(block, small);
    ASSERT_NE(block, nullptr);
    carrel_purge();
    EXPECT_LE(rss_kib() - before_kib, static_cast<long>(small / kKiB) + 4096) << small;
    EXPECT_EQ(first_difference(block, small, 200 * kMiB, 4), small);
    free(block);
  }
}

TEST(Reallocarray, MultipliesAndKeepsContents) {
  auto* block = static_cast<std::uint32_t*>(reallocarray(nullptr, 1000, sizeof(std::uint32_t)));
  ASSERT_NE(block, nullptr);
  for (std::uint32_t i = 0; i < 1000; ++i) block[i] = i;
  block = static_cast<std::uint32_t*>(reallocarray(block, 500000, sizeof(std::uint32_t)));
  ASSERT_NE(block, nullptr);
  EXPECT_GE(malloc_usable_size(block), 2000000u);
  for (std::uint32_t i = 0; i < 1000; ++i) ASSERT_EQ(block[i], i);
  free(block);
}

TEST(Reallocarray, RefusesProductsThatOverflowAndKeepsTheBlock) {
  void* block = malloc(4096);
  ASSERT_NE(block, nullptr);
  fill_words(block, 4096, 6);
  const std::size_t root = std::size_t{1} << 32;
  const std::pair<std::size_t, std::size_t> cases[] = {
      {SIZE_MAX, 2},         {2, SIZE_MAX},    {root, root}, {root * 2, root / 2 + 1},
      {SIZE_MAX / 8 + 1, 8}, {PTRDIFF_MAX, 1}, {1, SIZE_MAX}};
  for (const auto& [count, size] : cases) {
    errno = 0;
    EXPECT_EQ(reallocarray(block, opaque_size(count), opaque_size(size)), nullptr);
    EXPECT_EQ(errno, ENOMEM) << count << " * " << size;
    errno = 0;
    EXPECT_EQ(reallocarray(nullptr, opaque_size(count), opaque_size(size)), nullptr);
    EXPECT_EQ(errno, ENOMEM) << count << " * " << size;
  }
  EXPECT_EQ(first_difference(block, 4096, 4096, 6), 4096u);
  free(block);
}

TEST(Reallocarray, ZeroProductFreesTheBlock) {
  EXPECT_EQ(reallocarray(malloc(100), 0, 8), nullptr);
  EXPECT_EQ(reallocarray(malloc(100), 8, 0), nullptr);
  void* block = reallocarray(nullptr, 0, 8);
  EXPECT_NE(block, nullptr);
  free(block);
}

}  // namespace
