// memalign, aligned_alloc, posix_memalign, valloc, pvalloc: alignments from 1 to 1 GiB and
// beyond, odd sizes, bad arguments, and what errno and *memptr look like afterwards.
#include <gtest/gtest.h>

#include <malloc.h>
#include <unistd.h>

#include <set>

#include "support/blocks.h"
#include "support/override.h"

namespace {

using namespace api_test;

std::size_t page_size() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

std::vector<std::size_t> sizes_for(std::size_t alignment) {
  std::vector<std::size_t> sizes = {0, 1, 15, 16, 17, 100, 1000, 4096, 10000, 40000, 70000};
  if (alignment <= 8 * kMiB) {
    sizes.insert(sizes.end(), {alignment - 1, alignment, alignment + 1, alignment * 3 + 7});
  }
  sizes.push_back(3 * kMiB + 11);
  return sizes;
}

/// Checks alignment and usable size, writes the block's edges, frees it.
void expect_aligned_block(void* block, std::size_t alignment, std::size_t size) {
  ASSERT_NE(block, nullptr) << "alignment " << alignment << ", size " << size;
  EXPECT_TRUE(is_aligned(block, alignment)) << "alignment " << alignment << ", size " << size;
  EXPECT_GE(malloc_usable_size(block), size);
  if (size > 0) {
    fill_words(block, size, alignment);
    EXPECT_EQ(first_difference(block, size, size, alignment), size);
  }
}

class Alignments : public ::testing::TestWithParam<int> {};

TEST_P(Alignments, HoldForEverySizeAndFunction) {
  const std::size_t alignment = std::size_t{1} << GetParam();
  for (const std::size_t size : sizes_for(alignment)) {
    std::vector<void*> blocks;
    for (int i = 0; i < 3; ++i) {
      void* block = memalign(alignment, size);
      expect_aligned_block(block, alignment, size);
      blocks.push_back(block);
      block = aligned_alloc(alignment, size);
      expect_aligned_block(block, alignment, size);
      blocks.push_back(block);
      if (alignment >= sizeof(void*)) {
        block = nullptr;
        EXPECT_EQ(posix_memalign(&block, alignment, size), 0);
        expect_aligned_block(block, alignment, size);
        blocks.push_back(block);
      }
      block = carrel_aligned_alloc(alignment, size);
      expect_aligned_block(block, alignment, size);
      blocks.push_back(block);
    }
    for (void* block : blocks) {
      EXPECT_EQ(first_difference(block, size, size, alignment), size)
          << "alignment " << alignment << ", size " << size << ": overwritten by a neighbour";
      free(block);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(PowersOfTwoTo1GiB, Alignments, ::testing::Range(0, 31));

TEST(Aligned, BeyondAGibibyteEitherWorksOrReportsEnomem) {
  for (const int shift : {31, 32, 36, 40, 46, 62}) {
    const std::size_t alignment = std::size_t{1} << shift;
    errno = 0;
    void* block = memalign(opaque_size(alignment), 100);
    if (block != nullptr) {
      expect_aligned_block(block, alignment, 100);
      free(block);
    } else {
      EXPECT_EQ(errno, ENOMEM) << shift;
    }
  }
}

TEST(Aligned, LargeAlignmentCostsNoResidentMemory) {
  std::vector<void*> blocks;
  for (int i = 0; i < 8; ++i) {
    blocks.push_back(memalign(kGiB, 1000));
    ASSERT_NE(blocks.back(), nullptr);
    std::memset(blocks.back(), 1, 1000);
  }
  EXPECT_EQ(std::set<void*>(blocks.begin(), blocks.end()).size(), blocks.size());
  for (void* block : blocks) free(block);
}

TEST(Aligned, ImpossibleSizesAreRefused) {
  for (const std::size_t size : impossible_sizes()) {
    for (const std::size_t alignment :
         {std::size_t{16}, std::size_t{64}, std::size_t{4096}, 2 * kMiB, kGiB}) {
      errno = 0;
      EXPECT_EQ(memalign(opaque_size(alignment), opaque_size(size)), nullptr);
      EXPECT_EQ(errno, ENOMEM);
      errno = 0;
      EXPECT_EQ(aligned_alloc(opaque_size(alignment), opaque_size(size)), nullptr);
      EXPECT_EQ(errno, ENOMEM);
      void* block = &errno;
      EXPECT_EQ(posix_memalign(&block, opaque_size(alignment), opaque_size(size)), ENOMEM);
      EXPECT_EQ(block, &errno);
    }
    errno = 0;
    EXPECT_EQ(valloc(opaque_size(size)), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    errno = 0;
    EXPECT_EQ(pvalloc(opaque_size(size)), nullptr);
    EXPECT_EQ(errno, ENOMEM);
  }
}

TEST(PosixMemalign, RefusesBadAlignmentsAndKeepsMemptrAndErrno) {
  int marker = 0;
  for (const std::size_t alignment :
       {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{4},
        std::size_t{12}, std::size_t{24}, std::size_t{48}, std::size_t{4097}, SIZE_MAX,
        SIZE_MAX / 2}) {
    void* block = &marker;
    errno = kErrnoMark;
    EXPECT_EQ(posix_memalign(&block, opaque_size(alignment), 64), EINVAL) << alignment;
    EXPECT_EQ(block, &marker) << alignment;
    EXPECT_EQ(errno, kErrnoMark) << alignment;
  }
}

TEST(PosixMemalign, KeepsErrnoAndMemptrOnExhaustion) {
  int marker = 0;
  void* block = &marker;
  errno = kErrnoMark;
  EXPECT_EQ(posix_memalign(&block, 64, opaque_size(SIZE_MAX / 2)), ENOMEM);
  EXPECT_EQ(block, &marker);
  EXPECT_EQ(errno, kErrnoMark);
}

TEST(PosixMemalign, KeepsErrnoOnSuccess) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{10}, 10 * kKiB, 50 * kMiB}) {
    void* block = nullptr;
    errno = kErrnoMark;
    ASSERT_EQ(posix_memalign(&block, 4096, size), 0);
    EXPECT_EQ(errno, kErrnoMark);
    EXPECT_NE(block, nullptr);
    free(block);
  }
}

// As glibc since 2.38 and C23: no block for an alignment that is no power of two.
TEST(AlignedAlloc, RefusesBadAlignments) {
  for (const std::size_t alignment :
       {std::size_t{0}, std::size_t{3}, std::size_t{48}, std::size_t{4095}, SIZE_MAX}) {
    errno = 0;
    EXPECT_EQ(aligned_alloc(opaque_size(alignment), 64), nullptr) << alignment;
    EXPECT_EQ(errno, EINVAL) << alignment;
    errno = 0;
    EXPECT_EQ(carrel_aligned_alloc(opaque_size(alignment), 64), nullptr) << alignment;
    EXPECT_EQ(errno, EINVAL) << alignment;
  }
}

TEST(AlignedAlloc, TakesSizesThatAreNoMultipleOfTheAlignment) {
  void* block = aligned_alloc(256, 100);
  expect_aligned_block(block, 256, 100);
  free(block);
}

// glibc's memalign takes any alignment and rounds it up to the next power of two.
TEST(Memalign, RoundsOddAlignmentsUp) {
  const std::pair<std::size_t, std::size_t> cases[] = {
      {0, 1}, {3, 4}, {17, 32}, {48, 64}, {100, 128}, {4097, 8192}, {3 * kMiB, 4 * kMiB}};
  for (const auto& [asked, given] : cases) {
    void* block = memalign(opaque_size(asked), 100);
    expect_aligned_block(block, given, 100);
    free(block);
  }
}

TEST(Memalign, RefusesAlignmentsBeyondHalfTheAddressSpace) {
  errno = 0;
  EXPECT_EQ(memalign(opaque_size(SIZE_MAX / 2 + 2), 1), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST(Memalign, ZeroBytesAreUniqueBlocks) {
  for (const std::size_t alignment :
       {std::size_t{8}, std::size_t{64}, std::size_t{4096}, 64 * kKiB}) {
    std::set<void*> blocks;
    for (int i = 0; i < 100; ++i) blocks.insert(memalign(alignment, 0));
    EXPECT_EQ(blocks.size(), 100u) << alignment;
    EXPECT_EQ(blocks.count(nullptr), 0u);
    for (void* block : blocks) free(block);
  }
}

TEST(Valloc, AlignsToThePage) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, page_size() - 1, page_size(), page_size() + 1, 3 * kMiB}) {
    void* block = valloc(size);
    expect_aligned_block(block, page_size(), size);
    free(block);
  }
}

TEST(Pvalloc, AlignsToThePageAndRoundsUpToPages) {
  for (const std::size_t size :
       {std::size_t{1}, page_size() - 1, page_size(), page_size() + 1, 3 * kMiB + 1}) {
    void* block = pvalloc(size);
    const std::size_t rounded = (size + page_size() - 1) / page_size() * page_size();
    expect_aligned_block(block, page_size(), rounded);
    free(block);
  }
  void* empty = pvalloc(0);
  EXPECT_NE(empty, nullptr);
  EXPECT_TRUE(is_aligned(empty, page_size()));
  free(empty);
}

}  // namespace
