// calloc: zeroed always, also where dirty memory is used again; products checked; memory
// that is known to be zero is not written.
#include <gtest/gtest.h>

#include <malloc.h>

#include <set>

#include "support/blocks.h"
#include "support/override.h"
#include "support/proc.h"

namespace {

using namespace api_test;

TEST(Calloc, IsZeroAndAlignedForEverySize) {
  for (const std::size_t size : interesting_sizes(16 * kMiB)) {
    void* block = calloc(1, size);
    ASSERT_NE(block, nullptr) << size;
    EXPECT_TRUE(is_aligned(block, 16)) << size;
    ASSERT_TRUE(is_zero(block, size)) << size;
    free(block);
  }
}

TEST(Calloc, IsZeroAfterDirtyReuse) {
  for (const std::size_t size : interesting_sizes(8 * kMiB)) {
    const std::size_t count = size <= 64 * kKiB ? 16 : 3;
    void* blocks[16];
    for (std::size_t i = 0; i < count; ++i) {
      blocks[i] = malloc(size);
      ASSERT_NE(blocks[i], nullptr);
      std::memset(blocks[i], 0xff, malloc_usable_size(blocks[i]));
    }
    for (std::size_t i = 0; i < count; ++i) free(blocks[i]);
    for (std::size_t i = 0; i < count; ++i) {
      blocks[i] = calloc(size, 1);
      ASSERT_NE(blocks[i], nullptr);
      ASSERT_TRUE(is_zero(blocks[i], size)) << size << ", block " << i;
      std::memset(blocks[i], 0xff, size);
    }
    for (std::size_t i = 0; i < count; ++i) free(blocks[i]);
  }
}

// Dirty memory that becomes part of a run of another size, by splitting and by coalescing.
TEST(Calloc, IsZeroAcrossChangesOfSize) {
  std::uint64_t random = 7;
  for (int round = 0; round < 400; ++round) {
    const std::size_t dirty_size = next_random(&random) % (3 * kMiB) + 1;
    void* first = malloc(dirty_size);
    void* second = malloc(dirty_size / 3 + 1);
    ASSERT_NE(first, nullptr);
    ASSERT_NE(second, nullptr);
    std::memset(first, 0xff, dirty_size);
    std::memset(second, 0xff, dirty_size / 3 + 1);
    free(first);
    free(second);
    const std::size_t size = next_random(&random) % (4 * kMiB) + 1;
    void* block = calloc(1, size);
    ASSERT_NE(block, nullptr);
    ASSERT_TRUE(is_zero(block, size)) << "round " << round << ", " << size << " bytes";
    std::memset(block, 0xff, size);
    free(block);
  }
}

TEST(Calloc, IsZeroAfterPartialUseAndPurge) {
  for (const std::size_t size : {100 * kKiB, kMiB, 5 * kMiB, 64 * kMiB}) {
    auto* dirty = static_cast<unsigned char*>(malloc(size));
    ASSERT_NE(dirty, nullptr);
    for (std::size_t offset = 0; offset < size; offset += 12345) dirty[offset] = 0xff;
    dirty[size - 1] = 0xff;
    free(dirty);
    carrel_purge();
    void* block = calloc(size / 4, 4);
    ASSERT_NE(block, nullptr);
    EXPECT_TRUE(is_zero(block, size / 4 * 4)) << size;
    free(block);
  }
}

TEST(Calloc, RefusesProductsThatOverflow) {
  const std::size_t half = SIZE_MAX / 2;
  const std::size_t root = std::size_t{1} << 32;
  const std::pair<std::size_t, std::size_t> cases[] = {{SIZE_MAX, 2},
                                                       {2, SIZE_MAX},
                                                       {SIZE_MAX, SIZE_MAX},
                                                       {root, root},
                                                       {root + 1, root},
                                                       {half + 1, 2},
                                                       {2, half + 1},
                                                       {SIZE_MAX / 16 + 1, 16},
                                                       {16, SIZE_MAX / 16 + 1},
                                                       {root * 16, root / 16},
                                                       {half, 3}};
  for (const auto& [count, size] : cases) {
    errno = 0;
    EXPECT_EQ(calloc(opaque_size(count), opaque_size(size)), nullptr) << count << " * " << size;
    EXPECT_EQ(errno, ENOMEM) << count << " * " << size;
  }
}

TEST(Calloc, RefusesImpossibleSizes) {
  for (const std::size_t size : impossible_sizes()) {
    errno = 0;
    EXPECT_EQ(calloc(1, opaque_size(size)), nullptr) << size;
    EXPECT_EQ(errno, ENOMEM) << size;
    errno = 0;
    EXPECT_EQ(calloc(opaque_size(size), 1), nullptr) << size;
    EXPECT_EQ(errno, ENOMEM) << size;
  }
}

TEST(Calloc, ZeroCountsAndSizesAreUniqueBlocks) {
  std::set<void*> blocks;
  for (int i = 0; i < 1000; ++i) {
    blocks.insert(calloc(0, 8));
    blocks.insert(calloc(8, 0));
    blocks.insert(calloc(0, SIZE_MAX));
    blocks.insert(calloc(opaque_size(SIZE_MAX), 0));
  }
  EXPECT_EQ(blocks.size(), 4000u);
  EXPECT_EQ(blocks.count(nullptr), 0u);
  for (void* block : blocks) free(block);
}

TEST(Calloc, DoesNotTouchFreshLargeMemory) {
  const long before_kib = rss_kib();
  auto* block = static_cast<unsigned char*>(calloc(256, kMiB));
  ASSERT_NE(block, nullptr);
  EXPECT_LE(rss_kib() - before_kib, 2048) << "256 MiB of calloc were written";
  for (std::size_t offset = 0; offset < 256 * kMiB; offset += kMiB) ASSERT_EQ(block[offset], 0);
  free(block);
}

TEST(Calloc, DoesNotTouchMemoryThatWasPurged) {
  for (const std::size_t size : {kMiB, 64 * kMiB}) {
    const std::size_t count = 64 * kMiB / size;
    std::vector<void*> blocks(count);
    for (void*& block : blocks) {
      block = malloc(size);
      ASSERT_NE(block, nullptr);
      std::memset(block, 0xff, size);
    }
    for (void* block : blocks) free(block);
    carrel_purge();
    const long before_kib = rss_kib();
    for (void*& block : blocks) {
      block = calloc(1, size);
      ASSERT_NE(block, nullptr);
    }
    EXPECT_LE(rss_kib() - before_kib, 4096) << "purged memory was written, blocks of " << size;
    for (void* block : blocks) {
      EXPECT_TRUE(is_zero(block, size));
      free(block);
    }
  }
}

}  // namespace
