// What can be asked of the heap and told to it: usable sizes, sized frees, trimming,
// statistics in their four forms, mallopt.
#include <gtest/gtest.h>

#include <malloc.h>

#include "support/blocks.h"
#include "support/override.h"
#include "support/proc.h"

extern "C" {
void free_sized(void* block, std::size_t size);
void free_aligned_sized(void* block, std::size_t alignment, std::size_t size);
}

namespace {

using namespace api_test;

TEST(UsableSize, OfNullIsZero) { EXPECT_EQ(malloc_usable_size(nullptr), 0u); }

TEST(UsableSize, CoversTheRequestAndMayBeUsedWhole) {
  struct Block {
    void* bytes;
    std::size_t usable;
  };
  std::vector<Block> blocks;
  for (const std::size_t size : interesting_sizes(256 * kKiB)) {
    for (int i = 0; i < 2; ++i) {
      void* bytes = malloc(size);
      ASSERT_NE(bytes, nullptr);
      const std::size_t usable = malloc_usable_size(bytes);
      ASSERT_GE(usable, size);
      fill_words(bytes, usable, blocks.size());
      blocks.push_back({bytes, usable});
    }
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    ASSERT_EQ(first_difference(blocks[i].bytes, blocks[i].usable, blocks[i].usable, i),
              blocks[i].usable)
        << "usable sizes overlap";
    ASSERT_EQ(malloc_usable_size(blocks[i].bytes), blocks[i].usable) << "must not change";
  }
  for (const Block& block : blocks) free(block.bytes);
}

TEST(UsableSize, WastesLittle) {
  for (const std::size_t size : interesting_sizes(16 * kMiB)) {
    void* block = malloc(size);
    ASSERT_NE(block, nullptr);
    // 16-byte steps, then quarters of a doubling, then whole pages.
    const std::size_t limit = size + std::max<std::size_t>(16, size / 4 + 16);
    EXPECT_LE(malloc_usable_size(block), std::max(limit, size <= 32 * kKiB ? limit : size + 65536))
        << size;
    free(block);
  }
}

TEST(FreeSized, TakesTheSizeAskedForUpToTheUsableSize) {
  for (const std::size_t size : interesting_sizes(4 * kMiB)) {
    free_sized(malloc(size), size);
    free_sized(calloc(1, size), size);
    void* block = realloc(malloc(1), size);
    if (size > 0) free_sized(block, size);
    block = malloc(size);
    ASSERT_NE(block, nullptr);
    free_sized(block, malloc_usable_size(block));
  }
}

TEST(FreeSized, IgnoresNullAndKeepsErrno) {
  errno = kErrnoMark;
  free_sized(nullptr, 0);
  free_sized(nullptr, 100);
  free_aligned_sized(nullptr, 64, 100);
  for (const std::size_t size : {std::size_t{8}, std::size_t{3000}, kMiB, 100 * kMiB}) {
    void* block = malloc(size);
    errno = kErrnoMark;
    free_sized(block, size);
    EXPECT_EQ(errno, kErrnoMark);
  }
  EXPECT_EQ(errno, kErrnoMark);
}

TEST(FreeAlignedSized, TakesTheAlignmentAndSizeAskedFor) {
  for (int shift = 0; shift <= 24; ++shift) {
    const std::size_t alignment = std::size_t{1} << shift;
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, std::size_t{100}, 5 * kKiB, 40 * kKiB, 3 * kMiB}) {
      void* block = aligned_alloc(alignment, size);
      ASSERT_NE(block, nullptr);
      errno = kErrnoMark;
      free_aligned_sized(block, alignment, size);
      EXPECT_EQ(errno, kErrnoMark);
    }
  }
}

TEST(MallocTrim, ReturnsOneAndFreesMemoryWhenThereIsSome) {
  const long before_kib = rss_kib();
  std::vector<void*> blocks(200000);
  for (void*& block : blocks) {
    block = malloc(500);
    ASSERT_NE(block, nullptr);
    std::memset(block, 1, 500);
  }
  const long full_kib = rss_kib();
  for (void* block : blocks) free(block);
  EXPECT_EQ(malloc_trim(0), 1);
  EXPECT_LE(rss_kib() - before_kib, (full_kib - before_kib) / 10);
  EXPECT_EQ(lazy_free_kib(), 0);
  EXPECT_EQ(malloc_trim(0), 0) << "nothing was left to release";
}

TEST(MallocStats, WritesToStandardErrorOnly) {
  const ChildResult child = capture_child([] {
    void* block = malloc(1000);
    malloc_stats();
    free(block);
  });
  EXPECT_EQ(child.exit_code, 0);
  EXPECT_GT(child.err.size(), 20u);
  EXPECT_EQ(child.out, "");
  EXPECT_EQ(child.err.back(), '\n');
}

TEST(Mallinfo2, CountsWhatIsAllocated) {
  const struct mallinfo2 before = mallinfo2();
  std::vector<void*> blocks;
  for (int i = 0; i < 10000; ++i) blocks.push_back(malloc(1000));
  void* large = malloc(64 * kMiB);
  const struct mallinfo2 during = mallinfo2();
  for (void* block : blocks) free(block);
  free(large);
  const struct mallinfo2 after = mallinfo2();
  const auto in_use = [](const struct mallinfo2& info) { return info.uordblks + info.hblkhd; };
  EXPECT_GE(in_use(during), in_use(before) + 74 * kMiB - kMiB);
  EXPECT_LE(in_use(during), in_use(before) + 100 * kMiB);
  EXPECT_LE(in_use(after), in_use(before) + kMiB);
  EXPECT_GE(during.arena + during.hblkhd, 74 * kMiB);
  EXPECT_GE(during.arena, during.uordblks);
}

TEST(Mallinfo, AgreesWithMallinfo2) {
  const struct mallinfo2 wide = mallinfo2();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  const struct mallinfo narrow = mallinfo();
#pragma GCC diagnostic pop
  EXPECT_NEAR(static_cast<double>(narrow.uordblks), static_cast<double>(wide.uordblks), 65536.0);
  EXPECT_NEAR(static_cast<double>(narrow.arena), static_cast<double>(wide.arena), 65536.0);
}

TEST(MallocInfo, WritesADocumentAndReturnsZero) {
  char* text = nullptr;
  std::size_t length = 0;
  FILE* stream = open_memstream(&text, &length);
  ASSERT_NE(stream, nullptr);
  EXPECT_EQ(malloc_info(0, stream), 0);
  ASSERT_EQ(fclose(stream), 0);
  const std::string document(text, length);
  free(text);
  EXPECT_EQ(document.rfind("<malloc version=", 0), 0u) << document;
  EXPECT_NE(document.find("</malloc>"), std::string::npos) << document;
}

TEST(MallocInfo, RefusesOptions) {
  for (const int options : {1, -1, 42}) {
    char* text = nullptr;
    std::size_t length = 0;
    FILE* stream = open_memstream(&text, &length);
    ASSERT_NE(stream, nullptr);
    EXPECT_EQ(malloc_info(options, stream), EINVAL);
    ASSERT_EQ(fclose(stream), 0);
    EXPECT_EQ(length, 0u);
    free(text);
  }
}

TEST(Mallopt, AcceptsEveryDocumentedParameter) {
  const std::pair<int, int> parameters[] = {{M_MXFAST, 64},       {M_TRIM_THRESHOLD, 1 << 20},
                                            {M_TOP_PAD, 1 << 16}, {M_MMAP_THRESHOLD, 1 << 18},
                                            {M_MMAP_MAX, 65536},  {M_CHECK_ACTION, 3},
                                            {M_PERTURB, 0},       {M_ARENA_TEST, 8},
                                            {M_ARENA_MAX, 4}};
  for (const auto& [parameter, value] : parameters) {
    EXPECT_EQ(mallopt(parameter, value), 1) << parameter;
  }
}

TEST(Mallopt, RefusesUnknownParameters) {
  for (const int parameter : {0, 5, 12345, -9, -100, INT_MAX, INT_MIN}) {
    EXPECT_EQ(mallopt(parameter, 1), 0) << parameter;
  }
}

}  // namespace
