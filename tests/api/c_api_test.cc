// The prefixed C API: each function's promise, that it shares one heap with malloc, and
// that good sizes and usable sizes agree.
#include <gtest/gtest.h>
#include <malloc.h>

#include <set>
#include <thread>

#include "support/blocks.h"
#include "support/override.h"
#include "support/proc.h"

namespace {

using namespace api_test;

TEST(CApi, ReportsItsVersion) {
  const std::string expected = std::to_string(CARREL_VERSION_MAJOR) + "." +
                               std::to_string(CARREL_VERSION_MINOR) + "." +
                               std::to_string(CARREL_VERSION_PATCH);
  EXPECT_EQ(carrel_version(), expected);
  EXPECT_EQ(carrel_version(), carrel_version());
}

TEST(CApi, SharesOneHeapWithMalloc) {
  free(carrel_malloc(100));
  free(carrel_calloc(10, 10));
  free(carrel_aligned_alloc(128, 100));
  carrel_free(malloc(100));
  carrel_free(memalign(4096, 100));
  carrel_free(::operator new(100));
  void* block = malloc(100);
  EXPECT_EQ(carrel_usable_size(block), malloc_usable_size(block));
  block = carrel_realloc(block, 100000);
  ASSERT_NE(block, nullptr);
  block = realloc(block, 5);
  ASSERT_NE(block, nullptr);
  carrel_free(block);
}

TEST(CApi, MallocAndCallocKeepTheirPromises) {
  for (const std::size_t size : interesting_sizes(4 * kMiB)) {
    void* block = carrel_malloc(size);
    ASSERT_NE(block, nullptr);
    EXPECT_TRUE(is_aligned(block, 16));
    std::memset(block, 0xff, carrel_usable_size(block));
    carrel_free(block);
    block = carrel_calloc(1, size);
    ASSERT_NE(block, nullptr);
    EXPECT_TRUE(is_aligned(block, 16));
    ASSERT_TRUE(is_zero(block, size)) << size;
    carrel_free(block);
  }
  for (const std::size_t size : impossible_sizes()) {
    errno = 0;
    EXPECT_EQ(carrel_malloc(opaque_size(size)), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    errno = 0;
    EXPECT_EQ(carrel_calloc(opaque_size(size), 2), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    errno = 0;
    EXPECT_EQ(carrel_aligned_alloc(64, opaque_size(size)), nullptr);
    EXPECT_EQ(errno, ENOMEM);
  }
  EXPECT_NE(carrel_malloc(0), carrel_malloc(0));
}

TEST(CApi, FreesKeepErrnoAndIgnoreNull) {
  errno = kErrnoMark;
  carrel_free(nullptr);
  carrel_free_sized(nullptr, 0);
  carrel_free_sized_aligned(nullptr, 0, 64);
  EXPECT_EQ(errno, kErrnoMark);
  for (const std::size_t size : {std::size_t{1}, std::size_t{5000}, 100 * kKiB, 50 * kMiB}) {
    void* plain = carrel_malloc(size);
    void* sized = carrel_malloc(size);
    void* aligned = carrel_aligned_alloc(64, size);
    errno = kErrnoMark;
    carrel_free(plain);
    carrel_free_sized(sized, size);
    carrel_free_sized_aligned(aligned, size, 64);
    EXPECT_EQ(errno, kErrnoMark) << size;
  }
}

TEST(CApi, SizedFreesTakeAnySizeBetweenAskedAndUsable) {
  for (const std::size_t size : interesting_sizes(3 * kMiB)) {
    const std::size_t usable = carrel_good_size(size);
    for (const std::size_t told : {size, (size + usable) / 2, usable}) {
      carrel_free_sized(carrel_malloc(size), told);
    }
  }
  for (int shift = 0; shift < 24; ++shift) {
    const std::size_t alignment = std::size_t{1} << shift;
    for (const std::size_t size : {std::size_t{1}, std::size_t{100}, 3 * kKiB, 50 * kKiB}) {
      carrel_free_sized_aligned(carrel_aligned_alloc(alignment, size), size, alignment);
      void* block = carrel_aligned_alloc(alignment, size);
      carrel_free_sized_aligned(block, carrel_usable_size(block), alignment);
    }
  }
}

TEST(CApi, ReallocFollowsItsDocument) {
  void* block = carrel_realloc(nullptr, 100);
  ASSERT_NE(block, nullptr);
  fill_words(block, 100, 1);
  errno = 0;
  EXPECT_EQ(carrel_realloc(block, opaque_size(SIZE_MAX)), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  block = carrel_realloc(block, 3 * kMiB);
  ASSERT_NE(block, nullptr);
  EXPECT_EQ(first_difference(block, 100, 100, 1), 100u);
  EXPECT_EQ(carrel_realloc(block, 0), nullptr);
}

TEST(CApi, ReallocSizedAlignedKeepsContentsAndAlignment) {
  const std::size_t sizes[] = {1, 16, 100, 4096, 5000, 40 * kKiB, 300 * kKiB, 3 * kMiB, 9 * kMiB};
  for (const std::size_t alignment :
       {std::size_t{1}, std::size_t{16}, std::size_t{64}, std::size_t{4096}, 64 * kKiB, 4 * kMiB}) {
    for (const std::size_t from : sizes) {
      for (const std::size_t to : sizes) {
        void* block = carrel_aligned_alloc(alignment, from);
        ASSERT_NE(block, nullptr);
        fill_words(block, from, from);
        block = carrel_realloc_sized_aligned(block, from, to, alignment);
        ASSERT_NE(block, nullptr);
        EXPECT_TRUE(is_aligned(block, alignment)) << from << " to " << to << " at " << alignment;
        EXPECT_GE(carrel_usable_size(block), to);
        const std::size_t kept = std::min(from, to);
        ASSERT_EQ(first_difference(block, kept, from, from), kept) << from << " to " << to;
        carrel_free_sized_aligned(block, to, alignment);
      }
    }
  }
}

TEST(CApi, ReallocSizedAlignedOnTheEdges) {
  void* block = carrel_realloc_sized_aligned(nullptr, 0, 100, 256);
  ASSERT_NE(block, nullptr);
  EXPECT_TRUE(is_aligned(block, 256));
  fill_words(block, 100, 2);
  for (const std::size_t alignment : {std::size_t{0}, std::size_t{3}, std::size_t{48}, SIZE_MAX}) {
    errno = 0;
    EXPECT_EQ(carrel_realloc_sized_aligned(block, 100, 200, opaque_size(alignment)), nullptr);
    EXPECT_EQ(errno, EINVAL);
  }
  for (const std::size_t size : impossible_sizes()) {
    errno = 0;
    EXPECT_EQ(carrel_realloc_sized_aligned(block, 100, opaque_size(size), 256), nullptr);
    EXPECT_EQ(errno, ENOMEM);
  }
  EXPECT_EQ(first_difference(block, 100, 100, 2), 100u) << "a failure keeps the old block";
  void* empty = carrel_realloc_sized_aligned(block, 100, 0, 256);
  void* other = carrel_aligned_alloc(256, 0);
  EXPECT_NE(empty, nullptr) << "zero is not a free here";
  EXPECT_NE(empty, other);
  EXPECT_TRUE(is_aligned(empty, 256));
  carrel_free(empty);
  carrel_free(other);
}

TEST(CApi, GoodSizeIsWhatAnAllocationGets) {
  std::size_t last = 0;
  for (const std::size_t size : interesting_sizes(32 * kMiB)) {
    const std::size_t good = carrel_good_size(size);
    EXPECT_GE(good, size);
    EXPECT_EQ(carrel_good_size(good), good) << size << ": a good size is its own good size";
    void* block = carrel_malloc(size);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(carrel_usable_size(block), good) << size;
    carrel_free(block);
    last = good;
  }
  EXPECT_GE(last, 32 * kMiB);
  for (const std::size_t size : impossible_sizes()) EXPECT_EQ(carrel_good_size(size), size);
}

TEST(CApi, UsableSizeOfNullIsZero) { EXPECT_EQ(carrel_usable_size(nullptr), 0u); }

TEST(CApi, PurgeReturnsTheBytesItGaveBack) {
  carrel_purge();
  const long before_kib = rss_kib();
  std::vector<void*> blocks(100000);
  for (void*& block : blocks) {
    block = carrel_malloc(700);
    ASSERT_NE(block, nullptr);
    std::memset(block, 1, 700);
  }
  const long full_kib = rss_kib();
  for (void* block : blocks) carrel_free(block);
  // The helper thread may have purged some of it already: what matters is that both add up.
  const long freed_kib = rss_kib();
  const std::size_t purged = carrel_purge();
  const long after_kib = rss_kib();
  EXPECT_LE(after_kib - before_kib, (full_kib - before_kib) / 20);
  EXPECT_GE(static_cast<long>(purged / kKiB), (freed_kib - after_kib) * 9 / 10);
  EXPECT_EQ(carrel_purge(), 0u) << "nothing was left to purge";
  EXPECT_EQ(lazy_free_kib(), 0);
}

TEST(CApi, SetOptionAcceptsAndRefuses) {
  EXPECT_EQ(carrel_set_option("decay_ms", "250"), 1);
  EXPECT_EQ(carrel_set_option("decay_ms", "500"), 1);
  for (const char* key : {"", "decay", "decay_msx", "DECAY_MS", "no_such_key", "decay_ms="}) {
    errno = 0;
    EXPECT_EQ(carrel_set_option(key, "1"), 0) << key;
    EXPECT_EQ(errno, EINVAL) << key;
  }
  for (const char* value : {"", "soon", "-1", "10x", "99999999999999999999999"}) {
    errno = 0;
    EXPECT_EQ(carrel_set_option("decay_ms", value), 0) << value;
    EXPECT_EQ(errno, EINVAL) << value;
  }
  // The number of shards is read once, at start.
  errno = 0;
  EXPECT_EQ(carrel_set_option("shards", "2"), 0);
  EXPECT_EQ(errno, EINVAL);
}

TEST(CApi, MayBeCalledFromThreads) {
  std::vector<std::jthread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 2000; ++i) {
        void* block = carrel_malloc(static_cast<std::size_t>(i));
        block = carrel_realloc(block, static_cast<std::size_t>(i) * 2 + 1);
        carrel_free(block);
        if (i % 500 == 0) carrel_purge();
      }
    });
  }
}

}  // namespace
