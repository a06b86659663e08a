// The heap on Linux itself, beside the program's own allocator: real threads, the real
// helper thread and clock, and what the kernel's books say.
#include <gtest/gtest.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <random>
#include <thread>
#include <vector>

#include "heap/heap_slow.h"
#include "heap/stats.h"
#include "os/linux/linux_os.h"
#include "sanitizers.h"

namespace carrel::core {
namespace {

struct LinuxTls;
using LinuxHeap = Heap<kDefault, LinuxOs, LinuxTls>;

struct LinuxTls {
  static LinuxHeap& heap();
  static ThreadCache* cache() { return current; }
  static void set_cache(ThreadCache* cache) { current = cache; }
  static void use_cache(ThreadCache* cache) { current = cache; }
  static bool may_attach() { return true; }
  static bool try_again(std::size_t, std::size_t, std::uint32_t) { return false; }
  static void before_ready() {}
  static void after_ready(const Options&) {}
  static void read_options(Options& options) {
    if (kSanitized) options.purge_thread = 0;  // a bare thread is beyond their runtimes
  }
  static void purger_entry();
  static inline thread_local ThreadCache* current = &empty_cache;
};

constinit LinuxHeap heap;  // for the whole process: its helper thread may outlive a test

LinuxHeap& LinuxTls::heap() { return core::heap; }
void LinuxTls::purger_entry() { core::heap.run_purger(); }
void* slow(std::size_t size) { return heap.allocate_slow(size); }

class OnLinux : public ::testing::Test {
 protected:
  static char* allocate(std::size_t size) { return static_cast<char*>(heap.malloc<slow>(size)); }

  static void detach() {
    ThreadCache* cache = LinuxTls::current;
    LinuxTls::current = &empty_cache;
    if (cache->attached) heap.detach_thread(cache);
  }
  static HeapStats stats() {
    HeapStats result;
    gather_stats(result, heap.shards(), heap.registry(), heap.large(), heap.spans(), heap.pool(),
                 heap.metadata());
    return result;
  }
  static long mappings() {
    FILE* file = fopen("/proc/self/maps", "r");
    long lines = 0;
    for (int c = 0; (c = fgetc(file)) != EOF;) lines += c == '\n' ? 1 : 0;
    fclose(file);
    return lines;
  }
  static std::size_t resident_bytes() {
    FILE* file = fopen("/proc/self/statm", "r");
    unsigned long total = 0;
    unsigned long resident = 0;
    EXPECT_EQ(fscanf(file, "%lu %lu", &total, &resident), 2);
    fclose(file);
    return resident * LinuxOs::page_bytes();
  }
};

TEST_F(OnLinux, ThreadsExchangeBlocks) {
  constexpr int kThreads = 8;
  constexpr std::size_t kSlots = 1024;
  std::vector<std::atomic<char*>> table(kSlots);
  std::atomic<int> errors{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < 30'000; ++i) {
        const std::size_t size = 16 + random() % (i % 100 == 0 ? 200'000 : 1000);
        char* block = allocate(size);
        if (block == nullptr) {
          ++errors;
          continue;
        }
        block[0] = static_cast<char>(random());
        block[15] = static_cast<char>(~block[0]);
        char* other = table[random() % kSlots].exchange(block);
        if (other == nullptr) continue;
        errors += other[15] != static_cast<char>(~other[0]);
        heap.free(other);
      }
      detach();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors, 0);
  for (auto& entry : table) heap.free(entry.load());
  detach();
  EXPECT_EQ(stats().live_blocks, 0u);
  EXPECT_EQ(stats().threads, 0u);
}

TEST_F(OnLinux, AnIdleProcessGivesItsMemoryBack) {
  if (kSanitized) GTEST_SKIP() << "needs the helper thread";
  const std::size_t before = resident_bytes();
  std::vector<char*> blocks(400'000);
  for (char*& block : blocks) {
    block = allocate(200);
    memset(block, 1, 200);
  }
  const std::size_t peak = resident_bytes();
  EXPECT_GT(peak - before, 70 * kMiB);
  for (char* block : blocks) heap.free(block);
  for (int i = 0; i < 30; ++i) {  // not one call to the heap from here on
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    if (resident_bytes() < before + (peak - before) / 20) break;
  }
  EXPECT_LT(resident_bytes(), before + (peak - before) / 20);
  detach();
}

TEST_F(OnLinux, GrowingBlocksKeepTheirContents) {
  std::mt19937 random(4);
  struct Growing {
    char* start = nullptr;
    std::size_t size = 0;
  };
  std::vector<Growing> blocks(6);
  for (int round = 0; round < 300; ++round) {
    Growing& block = blocks[random() % blocks.size()];
    const std::size_t size =
        block.size > 40 * kMiB ? 300'000 : block.size + 100'000 + random() % 2'000'000;
    block.start = static_cast<char*>(heap.reallocate(block.start, size, kSlotAlignment));
    ASSERT_NE(block.start, nullptr);
    const std::size_t kept = size < block.size ? size : block.size;
    for (std::size_t at = 0; at + 8 <= kept; at += 4096) {
      std::uint64_t word = 0;
      memcpy(&word, block.start + at, 8);
      ASSERT_EQ(word, at * 31 + 7) << "round " << round << ", offset " << at;
    }
    for (std::size_t at = 0; at + 8 <= size; at += 4096) {
      const std::uint64_t word = at * 31 + 7;
      memcpy(block.start + at, &word, 8);
    }
    block.size = size;
  }
  for (const Growing& block : blocks) heap.free(block.start);
  EXPECT_EQ(stats().large_blocks, 0u);
}

// What moves by the page tables keeps a mapping of its own until it is freed; a program
// that goes on like this must not run out of them (vm.max_map_count, 65,530 by default).
TEST_F(OnLinux, GrowingForEverUsesNoMoreMappings) {
  const auto churn = [](int rounds) {
    std::vector<std::pair<char*, std::size_t>> blocks(20);
    std::mt19937 random(9);
    for (int round = 0; round < rounds; ++round) {
      auto& [start, size] = blocks[random() % blocks.size()];
      if (size > 6 * kMiB) {
        heap.free(start);
        start = nullptr;
        size = 0;
      }
      size += 300'000 + random() % 500'000;
      start = static_cast<char*>(heap.reallocate(start, size, kSlotAlignment));
      start[0] = start[size - 1] = 1;
    }
    for (auto& [start, size] : blocks) heap.free(start);
  };
  churn(400);
  const long before = mappings();
  for (int i = 0; i < 5; ++i) churn(400);
  EXPECT_LE(mappings(), before + 40) << "mappings pile up";
}

TEST_F(OnLinux, ZeroedBlocksAreZeroWhateverWasThere) {
  for (int round = 0; round < 4; ++round) {
    for (const std::size_t size : {1000u, 50'000u, 3'000'000u, 20'000'000u}) {
      auto* block = static_cast<char*>(heap.zero_allocate(size));
      ASSERT_NE(block, nullptr);
      ASSERT_TRUE(block[0] == 0 && memcmp(block, block + 1, size - 1) == 0) << size;
      memset(block, 0xEE, size);
      block = static_cast<char*>(heap.reallocate(block, size * 2, kSlotAlignment));
      memset(block, 0xEE, size * 2);
      heap.free(block);
    }
    if (round == 2) heap.purge();
  }
  detach();
}

}  // namespace
}  // namespace carrel::core
