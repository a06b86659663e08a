// malloc and free, one promise a test: alignment, zero sizes, refusals, errno, distinct
// blocks, frees in every order and from other threads.
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <random>
#include <set>
#include <thread>

#include "support/blocks.h"
#include "support/override.h"

namespace {

using namespace api_test;

TEST(Malloc, AlignsEveryBlockTo16AndLetsItBeWritten) {
  for (const std::size_t size : interesting_sizes(64 * kMiB)) {
    auto* block = static_cast<unsigned char*>(malloc(size));
    ASSERT_NE(block, nullptr) << size;
    EXPECT_TRUE(is_aligned(block, 16)) << size;
    if (size <= kMiB) {
      std::memset(block, 0xa5, size);
    } else {
      for (std::size_t offset = 0; offset < size; offset += 64 * kKiB) block[offset] = 1;
      block[size - 1] = 1;
    }
    free(block);
  }
}

TEST(Malloc, ZeroBytesAreUniqueBlocks) {
  std::set<void*> blocks;
  for (int i = 0; i < 10000; ++i) {
    void* block = malloc(0);
    ASSERT_NE(block, nullptr);
    EXPECT_TRUE(blocks.insert(block).second) << "block " << i << " was already handed out";
  }
  for (void* block : blocks) free(block);
}

TEST(Malloc, RefusesImpossibleSizesWithEnomem) {
  for (const std::size_t size : impossible_sizes()) {
    errno = 0;
    EXPECT_EQ(malloc(opaque_size(size)), nullptr) << size;
    EXPECT_EQ(errno, ENOMEM) << size;
  }
  void* block = malloc(100);
  EXPECT_NE(block, nullptr) << "a refusal must leave the heap usable";
  free(block);
}

TEST(Malloc, LiveBlocksKeepTheirBytes) {
  struct Block {
    void* bytes;
    std::size_t size;
  };
  std::vector<Block> blocks;
  std::uint64_t seed = 1;
  for (const std::size_t size : interesting_sizes(kMiB)) {
    void* bytes = malloc(size);
    ASSERT_NE(bytes, nullptr);
    fill_words(bytes, size, seed++);
    blocks.push_back({bytes, size});
  }
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = static_cast<std::size_t>(round); i < blocks.size(); i += 3) {
      ASSERT_EQ(first_difference(blocks[i].bytes, blocks[i].size, blocks[i].size, i + 1),
                blocks[i].size);
      free(blocks[i].bytes);
    }
  }
}

TEST(Malloc, ServesBlocksOfGigabytes) {
  for (const std::size_t size : {kGiB - 1, kGiB, 3 * kGiB, 16 * kGiB + 5}) {
    auto* block = static_cast<unsigned char*>(malloc(opaque_size(size)));
    ASSERT_NE(block, nullptr) << size;
    EXPECT_GE(malloc_usable_size(block), size);
    for (const std::size_t offset : {std::size_t{0}, size / 3, size / 2, size - 1}) {
      block[offset] = 0x77;
    }
    EXPECT_EQ(block[size - 1], 0x77);
    free(block);
  }
}

TEST(Malloc, BlocksOfManyThreadsAreDistinct) {
  constexpr int kThreads = 8;
  constexpr int kBlocks = 4000;
  std::vector<std::vector<void*>> blocks(kThreads);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937 random(static_cast<unsigned>(t));
        for (int i = 0; i < kBlocks; ++i) {
          const std::size_t size = random() % 600 + 16;
          void* block = malloc(size);
          if (block == nullptr) return;
          std::memset(block, t, size);
          blocks[static_cast<std::size_t>(t)].push_back(block);
        }
      });
    }
  }
  std::set<void*> all;
  for (std::size_t t = 0; t < kThreads; ++t) {
    EXPECT_EQ(blocks[t].size(), static_cast<std::size_t>(kBlocks));
    for (void* block : blocks[t]) {
      EXPECT_TRUE(all.insert(block).second);
      EXPECT_EQ(static_cast<unsigned char*>(block)[15], t);
    }
  }
  for (void* block : all) free(block);
}

TEST(Free, IgnoresNull) {
  errno = kErrnoMark;
  free(nullptr);
  EXPECT_EQ(errno, kErrnoMark);
}

TEST(Free, KeepsErrnoForEverySize) {
  for (std::size_t size = 1; size <= 512 * kMiB; size = size * 3 / 2 + 1) {
    // Enough blocks of the small sizes that caches overflow and slow paths run too.
    const std::size_t count = size <= kKiB ? 3000 : size <= kMiB ? 50 : 2;
    std::vector<void*> blocks;
    for (std::size_t i = 0; i < count; ++i) {
      auto* block = static_cast<unsigned char*>(malloc(size));
      ASSERT_NE(block, nullptr) << size;
      block[0] = block[size - 1] = 1;
      blocks.push_back(block);
    }
    for (void* block : blocks) {
      errno = kErrnoMark;
      free(block);
      ASSERT_EQ(errno, kErrnoMark) << "freeing " << size << " bytes changed errno";
    }
  }
}

TEST(Free, TakesBlocksInEveryOrder) {
  constexpr std::size_t kBlocks = 20000;
  std::mt19937 random(42);
  for (const char* order : {"first in first out", "last in first out", "random"}) {
    std::vector<void*> blocks;
    for (std::size_t i = 0; i < kBlocks; ++i) {
      const std::size_t size = 8 + i % 2000;
      void* block = malloc(size);
      ASSERT_NE(block, nullptr);
      fill_words(block, size, i);
      blocks.push_back(block);
    }
    std::vector<std::size_t> indices(kBlocks);
    for (std::size_t i = 0; i < kBlocks; ++i) indices[i] = i;
    if (order[0] == 'l') std::reverse(indices.begin(), indices.end());
    if (order[0] == 'r') std::shuffle(indices.begin(), indices.end(), random);
    for (const std::size_t i : indices) {
      const std::size_t size = 8 + i % 2000;
      ASSERT_EQ(first_difference(blocks[i], size, size, i), size) << order;
      free(blocks[i]);
    }
  }
}

TEST(Free, TakesBlocksOfAnotherThread) {
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{48}, std::size_t{1000}, 20 * kKiB, 100 * kKiB, 3 * kMiB}) {
    const std::size_t count = size < kKiB ? 20000 : size < 64 * kKiB ? 500 : 20;
    std::vector<void*> blocks;
    for (std::size_t i = 0; i < count; ++i) {
      blocks.push_back(malloc(size));
      ASSERT_NE(blocks.back(), nullptr);
      fill_words(blocks.back(), size, i);
    }
    std::size_t broken = 0;
    std::thread([&] {
      for (std::size_t i = 0; i < count; ++i) {
        broken += first_difference(blocks[i], size, size, i) != size;
        free(blocks[i]);
      }
    }).join();
    EXPECT_EQ(broken, 0u) << size;
  }
}

// Blocks freed and allocated again and again stay within the memory of one generation.
TEST(Free, MakesMemoryReusable) {
  for (const std::size_t size :
       {std::size_t{16}, std::size_t{320}, 10 * kKiB, 300 * kKiB, 5 * kMiB}) {
    const std::size_t count = 32 * kMiB / size;
    std::size_t peak = 0;
    for (int round = 0; round < 10; ++round) {
      std::vector<void*> blocks;
      for (std::size_t i = 0; i < count; ++i) {
        blocks.push_back(malloc(size));
        ASSERT_NE(blocks.back(), nullptr);
        static_cast<char*>(blocks.back())[0] = 1;
      }
      const struct mallinfo2 now = mallinfo2();
      if (round == 0) peak = now.arena + now.hblkhd;
      EXPECT_LE(now.arena + now.hblkhd, peak + 24 * kMiB) << size << ", round " << round;
      for (void* block : blocks) free(block);
    }
  }
}

}  // namespace
