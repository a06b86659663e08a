// heap/heap.h, end to end on the simulated system: requests of every kind, threads, first
// use, options. What fails is in misuse_test.cc and out_of_memory_test.cc.
#include <algorithm>
#include <set>
#include <thread>

#include "program.h"

namespace carrel::core {
namespace {

class HeapTest : public HeapFixture {};

// --- first use ------------------------------------------------------------------------

TEST_F(HeapTest, TouchesNothingBeforeItsFirstUse) {
  EXPECT_FALSE(heap_->ready());
  EXPECT_EQ(FakeOs::fallible_calls(), 0u);
  heap_->free(nullptr);
  EXPECT_EQ(heap_->purge(), 0u);
  EXPECT_FALSE(heap_->ready());
  EXPECT_EQ(FakeOs::fallible_calls(), 0u);
}

TEST_F(HeapTest, BeginsOnce) {
  for (int i = 0; i < 10; ++i) EXPECT_NE(allocate(10), nullptr);
  EXPECT_NE(allocate(100'000), nullptr);
  EXPECT_TRUE(heap_->ready());
  EXPECT_EQ(TestTls::times_options_read, 1);
  EXPECT_EQ(TestTls::times_before_ready, 1);
  EXPECT_EQ(TestTls::times_after_ready, 1);
}

TEST_F(HeapTest, AnyRequestMayBeTheFirst) {
  const std::function<void*()> requests[] = {
      [] { return heap_malloc(0); },
      [] { return heap_malloc(1 * kMiB); },
      [this] { return heap_->zero_allocate(10); },
      [this] { return heap_->zero_allocate(1 * kMiB); },
      [this] { return heap_->aligned_allocate(4096, 10); },
      [this] { return heap_->aligned_allocate(1 * kMiB, 10); },
      [this] { return heap_->reallocate(nullptr, 10, 16); },
  };
  for (const auto& request : requests) {
    renew();
    void* block = request();
    EXPECT_NE(block, nullptr);
    heap_->free(block);
    expect_clean();
  }
}

// Whatever the process does around these moments may allocate.
TEST_F(HeapTest, BeginningIsReentrant) {
  std::vector<char*> blocks;
  TestTls::on_after_ready = [&] { blocks.push_back(allocate(48)); };
  TestTls::on_set_cache = [&] {
    TestTls::on_set_cache = nullptr;
    for (int i = 0; i < 20; ++i) blocks.push_back(allocate(32));
    heap_->free(blocks.back());
    blocks.pop_back();
  };
  blocks.push_back(allocate(32));
  EXPECT_EQ(std::set<char*>(blocks.begin(), blocks.end()).size(), blocks.size());
  EXPECT_EQ(std::count(blocks.begin(), blocks.end(), nullptr), 0);
  free_all(blocks);
  expect_clean();
}

TEST_F(HeapTest, ManyThreadsMayBeginAtOnce) {
  for (int round = 0; round < 30; ++round) {
    renew();
    FakeOs::settings.cpu_count = 3;  // several threads a shard
    std::atomic<int> nulls{0};
    std::atomic<int> waiting{8};
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&] {
        --waiting;
        while (waiting > 0) std::this_thread::yield();
        std::vector<char*> blocks;
        for (std::size_t i = 0; i < 40; ++i) {
          blocks.push_back(allocate(i * 50));
          nulls += blocks.back() == nullptr;
        }
        free_all(blocks);
        detach();
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(nulls, 0);
    EXPECT_EQ(TestTls::times_options_read, 1);
    EXPECT_EQ(TestTls::times_after_ready, 1);
    expect_clean();
  }
}

TEST_F(HeapTest, ASmallProgramTakesLittle) {
  free_all(allocate_many(100, 50));
  EXPECT_LE(heap_->pool().totals().added << kGranuleShift, kMiB);
  EXPECT_LE(heap_->metadata().mapped_bytes(), 256 * kKiB);
  EXPECT_EQ(FakeOs::calls(OsCall::kStartThread), 0u);
}

// --- malloc and free ------------------------------------------------------------------

TEST_F(HeapTest, BlocksOfEverySizeAreAlignedUsableAndApart) {
  std::vector<std::pair<char*, std::size_t>> blocks;
  for (std::size_t size = 0; size <= 70'000; size += size < 300 ? 1 : size / 97) {
    char* block = allocate(size);
    ASSERT_NE(block, nullptr) << size;
    EXPECT_EQ(address_of(block) % kSlotAlignment, 0u) << size;
    ASSERT_GE(heap_->usable_size(block), size);
    blocks.emplace_back(block, heap_->usable_size(block));
  }
  std::sort(blocks.begin(), blocks.end());
  for (std::size_t i = 1; i < blocks.size(); ++i) {
    ASSERT_LE(blocks[i - 1].first + blocks[i - 1].second, blocks[i].first);
  }
  for (const auto& [block, usable] : blocks) memset(block, 0xAB, usable);
  for (const auto& [block, usable] : blocks) heap_->free(block);
  expect_clean();
}

TEST_F(HeapTest, BlocksOfNoBytesAreDistinct) {
  std::set<char*> blocks;
  for (int i = 0; i < 1000; ++i) {
    char* block = allocate(0);
    ASSERT_NE(block, nullptr);
    EXPECT_TRUE(blocks.insert(block).second);
  }
  for (char* block : blocks) heap_->free(block);
  expect_clean();
}

TEST_F(HeapTest, AFreedBlockIsHandedOutNext) {
  for (const std::size_t size : {1u, 16u, 100u, 5000u, 32768u}) {
    char* block = allocate(size);
    heap_->free(block);
    EXPECT_EQ(allocate(size), block) << size;
    heap_->free(block);
  }
}

TEST_F(HeapTest, UsableSizeIsTheGoodSize) {
  for (std::size_t size = 0; size < 300'000; size += 1 + size / 50) {
    char* block = allocate(size);
    EXPECT_EQ(heap_->usable_size(block), heap_->good_size(size)) << size;
    EXPECT_GE(heap_->good_size(size), size);
    EXPECT_EQ(heap_->good_size(heap_->good_size(size)), heap_->good_size(size));
    heap_->free(block);
  }
  EXPECT_EQ(heap_->good_size(SIZE_MAX), SIZE_MAX);
}

TEST_F(HeapTest, ImpossibleSizesAreNull) {
  const std::uint64_t before = (allocate(1), FakeOs::fallible_calls());
  for (const std::size_t size :
       {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 4095, SIZE_MAX / 2 + 1, SIZE_MAX / 2, SIZE_MAX / 4}) {
    EXPECT_EQ(heap_malloc(size), nullptr) << size;
    EXPECT_EQ(heap_->zero_allocate(size), nullptr) << size;
    EXPECT_EQ(heap_->aligned_allocate(64, size), nullptr) << size;
    EXPECT_EQ(heap_->aligned_allocate(kMiB, size), nullptr) << size;
    EXPECT_EQ(heap_->reallocate(nullptr, size, 16), nullptr) << size;
  }
  EXPECT_EQ(FakeOs::fallible_calls(), before) << "the system need not be asked";
}

TEST_F(HeapTest, ACachedPairNeverCallsTheSystemOrTheSlabs) {
  heap_->free(allocate(100));
  const std::uint64_t calls = FakeOs::fallible_calls();
  for (int i = 0; i < 100'000; ++i) heap_->free(allocate(100));
  EXPECT_EQ(FakeOs::fallible_calls(), calls);
}

TEST_F(HeapTest, FreeingTouchesNoBlock) {
  const std::vector<char*> blocks = allocate_many(2000, 4096);
  ASSERT_GT(heap_->purge() + 1, 0u);
  for (char* block : blocks)
    FakeOs::purge(at_address<void>(align_down(address_of(block), 4096)), 4096);
  std::size_t resident = 0;
  free_all(blocks);
  for (char* block : blocks) {
    if (!FakeOs::is_usable(at_address<void>(align_down(address_of(block), 4096)), 4096)) continue;
    resident += FakeOs::resident_bytes(at_address<void>(align_down(address_of(block), 4096)), 4096);
  }
  EXPECT_EQ(resident, 0u);
}

// --- calloc ---------------------------------------------------------------------------

TEST_F(HeapTest, ZeroedBlocksAreZero) {
  for (const std::size_t size :
       {1u, 16u, 100u, 4096u, 32768u, 32769u, 65536u, 200'000u, 5'000'000u}) {
    for (int round = 0; round < 3; ++round) {
      auto* block = static_cast<char*>(heap_->zero_allocate(size));
      ASSERT_NE(block, nullptr);
      EXPECT_TRUE(block[0] == 0 && memcmp(block, block + 1, size - 1) == 0) << size;
      memset(block, 0xFF, heap_->usable_size(block));
      heap_->free(block);
    }
  }
  heap_->free(heap_->zero_allocate(0));
  expect_clean();
}

TEST_F(HeapTest, FreshMemoryIsNotTouchedToBeZero) {
  for (const std::size_t size : {100 * kKiB, 10 * kMiB, 300 * kMiB}) {
    void* block = heap_->zero_allocate(size);
    EXPECT_EQ(FakeOs::resident_bytes(block, align_down(size, 4096)), 0u) << size;
  }
}

TEST_F(HeapTest, PurgedMemoryIsNotTouchedToBeZero) {
  for (const std::size_t size : {100 * kKiB, 10 * kMiB}) {
    char* block = allocate(size);
    memset(block, 1, size);
    heap_->free(block);
    heap_->purge();
    void* zeroed = heap_->zero_allocate(size);
    EXPECT_EQ(FakeOs::resident_bytes(zeroed, align_down(size, 4096)), 0u) << size;
    heap_->free(zeroed);
  }
}

TEST_F(HeapTest, ALargeDirtyBlockIsZeroedByThePage) {
  char* block = allocate(20 * kMiB);
  memset(block, 1, 20 * kMiB);
  heap_->free(block);
  char* zeroed = static_cast<char*>(heap_->zero_allocate(20 * kMiB));
  EXPECT_EQ(zeroed, block);
  EXPECT_EQ(FakeOs::resident_bytes(zeroed, 20 * kMiB), 0u);
}

// --- alignment ------------------------------------------------------------------------

TEST_F(HeapTest, BlocksOfEveryAlignment) {
  std::vector<void*> blocks;
  for (std::size_t alignment = 1; alignment <= kGiB; alignment *= 2) {
    for (const std::size_t size : {0u, 1u, 17u, 1000u, 40'000u, 100'000u}) {
      void* block = heap_->aligned_allocate(alignment, size);
      ASSERT_NE(block, nullptr) << alignment << ", " << size;
      EXPECT_EQ(address_of(block) % alignment, 0u);
      EXPECT_GE(heap_->usable_size(block), size);
      memset(block, 1, size);
      blocks.push_back(block);
    }
  }
  for (void* block : blocks) heap_->free(block);
  expect_clean();
}

TEST_F(HeapTest, ManyBlocksOfAnAlignment) {
  for (std::size_t alignment = 32; alignment <= 65536; alignment *= 2) {
    std::vector<void*> blocks;
    for (std::size_t i = 0; i < 50; ++i) {
      blocks.push_back(heap_->aligned_allocate(alignment, 1 + i * alignment / 13));
      ASSERT_EQ(address_of(blocks.back()) % alignment, 0u) << alignment;
    }
    for (void* block : blocks) heap_->free(block);
  }
  expect_clean();
}

TEST_F(HeapTest, ImpossibleAlignmentsAreNull) {
  for (const unsigned bit : {42u, 50u, 62u, 63u}) {
    EXPECT_EQ(heap_->aligned_allocate(std::size_t{1} << bit, 1), nullptr) << bit;
  }
}

// --- threads --------------------------------------------------------------------------

TEST_F(HeapTest, AnEndedThreadsMemoryServesOthersAtOnce) {
  FakeOs::settings.cpu_count = 1;
  VirtualThread gone;
  std::set<char*> its;
  gone.run([&] {
    for (char* block : allocate_many(500, 200)) {
      its.insert(block);
      heap_->free(block);
    }
  });
  gone.exit(*heap_);
  const std::size_t heap_bytes = stats_of(*heap_).heap_bytes;
  int reused = 0;
  for (char* block : allocate_many(500, 200)) reused += its.count(block) != 0 ? 1 : 0;
  EXPECT_GE(reused, 490);
  EXPECT_EQ(stats_of(*heap_).heap_bytes, heap_bytes);
}

TEST_F(HeapTest, AThreadOnItsWayOutIsServedWithoutACache) {
  VirtualThread thread;
  thread.run([&] { heap_->free(allocate(100)); });
  thread.exit(*heap_);
  const std::size_t threads = stats_of(*heap_).threads;
  thread.run([&] {
    std::vector<char*> blocks;
    for (const std::size_t size : {1u, 100u, 30'000u, 100'000u}) {
      blocks.push_back(allocate(size));
      ASSERT_NE(blocks.back(), nullptr);
      blocks.back() = static_cast<char*>(heap_->reallocate(blocks.back(), size * 2, 16));
    }
    free_all(blocks);
    EXPECT_EQ(TestTls::current, &empty_cache);
  });
  EXPECT_EQ(stats_of(*heap_).threads, threads);
  expect_clean();
}

TEST_F(HeapTest, AThreadThatOnlyFreesNeitherGrowsNorKeepsMemory) {
  VirtualThread producer, consumer;
  for (const std::size_t size : {16u, 48u, 64u, 500u, 10'000u}) {
    std::size_t after_warm_up = 0;
    for (int round = 0; round < 200; ++round) {
      std::vector<char*> blocks;
      producer.run([&] { blocks = allocate_many(300, size); });
      consumer.run([&] { free_all(blocks); });
      if (round == 20) after_warm_up = stats_of(*heap_).heap_bytes;
    }
    EXPECT_EQ(stats_of(*heap_).heap_bytes, after_warm_up) << size;
  }
  producer.exit(*heap_);
  consumer.exit(*heap_);
  expect_clean();
}

TEST_F(HeapTest, SmallBlocksOfAnotherGroupAreNotShared) {
  // A cache line never holds blocks of two threads of different groups.
  VirtualThread a, b;
  std::vector<char*> of_a;
  a.run([&] { of_a = allocate_many(100, 16); });
  b.run([&] {
    free_all(of_a);
    for (char* block : allocate_many(500, 16)) {
      EXPECT_EQ(std::count(of_a.begin(), of_a.end(), block), 0);
    }
  });
}

TEST_F(HeapTest, RealThreadsExchangeBlocks) {
  constexpr int kThreads = 4;
  constexpr int kSlots = 512;
  std::vector<std::atomic<char*>> table(kSlots);
  std::atomic<int> errors{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < 20'000; ++i) {
        const std::size_t size = 16 + random() % (i % 50 == 0 ? 60'000 : 600);
        char* block = allocate(size);
        const auto stamp = static_cast<char>(random());
        memset(block, stamp, 16);
        block[15] = static_cast<char>(~stamp);
        char* other = table[random() % kSlots].exchange(block);
        if (other == nullptr) continue;
        errors += other[15] != static_cast<char>(~other[0]);
        heap_->free(other);
      }
      detach();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors, 0);
  for (auto& entry : table) heap_->free(entry.load());
  expect_clean();
}

// --- options --------------------------------------------------------------------------

TEST_F(HeapTest, ThereIsAShardPerCpuUpToTheMost) {
  for (const std::uint32_t cpus : {1u, 2u, 7u, 64u, 500u}) {
    renew();
    FakeOs::settings.cpu_count = cpus;
    allocate(1);
    EXPECT_EQ(heap_->shards().count(), cpus < 64 ? cpus : 64u);
    EXPECT_EQ(heap_->options().shards, heap_->shards().count());
  }
}

TEST_F(HeapTest, ShardsAreAnOption) {
  TestTls::options_text = "shards=5";
  allocate(1);
  EXPECT_EQ(heap_->shards().count(), 5u);
}

TEST_F(HeapTest, CacheSizeIsAnOption) {
  TestTls::options_text = "cache_kib=1";
  free_all(allocate_many(1000, 512));
  EXPECT_LE(stats_of(*heap_).cached_bytes, 8 * 512u);
  renew();
  TestTls::options_text = "cache_kib=64";
  free_all(allocate_many(1000, 512));
  EXPECT_GT(stats_of(*heap_).cached_bytes, 32 * kKiB);
  EXPECT_LE(stats_of(*heap_).cached_bytes, 64 * kKiB);
}

TEST_F(HeapTest, OptionsMayChangeBeforeTheStart) {
  EXPECT_EQ(heap_->set_option_now("shards", "3"), OptionError::kNone);
}

TEST_F(HeapTest, SomeOptionsAreFixedOnceItRuns) {
  allocate(1);
  const std::uint32_t shards = heap_->options().shards;
  EXPECT_EQ(heap_->set_option_now("shards", "3"), OptionError::kFixed);
  EXPECT_EQ(heap_->options().shards, shards);
  EXPECT_EQ(heap_->set_option_now("decay_ms", "123"), OptionError::kNone);
  EXPECT_EQ(heap_->options().decay_ms, 123u);
  EXPECT_EQ(heap_->set_option_now("decay", "1"), OptionError::kUnknownKey);
  EXPECT_EQ(heap_->set_option_now("purge_thread", "2"), OptionError::kBadValue);
}

// --- everything at once ---------------------------------------------------------------

class RandomPrograms : public HeapFixture, public ::testing::WithParamInterface<unsigned> {};

TEST_P(RandomPrograms, LoseNothing) {
  for (const char* options : {"", "purge_thread=0", "decay_ms=0", "cache_kib=0,shards=1"}) {
    SCOPED_TRACE(options);
    renew();
    TestTls::options_text = options;
    Program program(*heap_, GetParam());
    program.run(1500);
    program.check_all();
    program.finish();
    EXPECT_EQ(program.refusals(), 0u);
    expect_clean();
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomPrograms, ::testing::Range(1u, 7u));

}  // namespace
}  // namespace carrel::core
