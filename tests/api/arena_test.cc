// Arenas: blocks of every size and alignment, frees by whichever function and thread, reset,
// destruction, limits, walking, forking, and the C++ owners over them.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <carrel/arena.hpp>
#include <carrel/control.hpp>
#include <map>
#include <memory_resource>
#include <random>
#include <set>
#include <thread>

#include "support/blocks.h"

namespace {

using namespace api_test;

carrel_arena_stats stats_of(carrel_arena* arena) {
  carrel_arena_stats stats{};
  EXPECT_EQ(carrel_arena_stats_read(arena, &stats, sizeof stats), CARREL_OK);
  return stats;
}

std::map<char*, std::size_t> walk(carrel_arena* arena) {
  std::map<char*, std::size_t> blocks;
  const auto visit = [](void* context, void* block, std::size_t size) {
    auto& found = *static_cast<std::map<char*, std::size_t>*>(context);
    EXPECT_TRUE(found.emplace(static_cast<char*>(block), size).second);
    return 1;
  };
  EXPECT_EQ(carrel_arena_walk(arena, visit, &blocks), CARREL_OK);
  return blocks;
}

class ArenaTest : public ::testing::Test {
 protected:
  ArenaTest() { EXPECT_NE(arena_, nullptr); }
  ~ArenaTest() override { EXPECT_EQ(carrel_arena_destroy(arena_), CARREL_OK); }
  ArenaTest(const ArenaTest&) = delete;
  ArenaTest& operator=(const ArenaTest&) = delete;

  carrel_arena* arena_ = carrel_arena_create();
};

TEST_F(ArenaTest, ServesEverySizeAndAlignment) {
  std::vector<std::pair<void*, std::size_t>> blocks;
  for (const std::size_t size : interesting_sizes(3 * kMiB)) {
    void* block = carrel_arena_alloc(arena_, size);
    ASSERT_NE(block, nullptr);
    ASSERT_EQ(reinterpret_cast<std::uintptr_t>(block) % 16, 0u);
    ASSERT_GE(carrel_usable_size(block), size);
    ASSERT_EQ(malloc_usable_size(block), carrel_usable_size(block));
    fill_words(block, size, blocks.size());
    blocks.emplace_back(block, size);
  }
  for (std::size_t alignment = 1; alignment <= 4 * kMiB; alignment *= 2) {
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, std::size_t{100}, 5 * kKiB, kMiB}) {
      void* block = carrel_arena_aligned_alloc(arena_, alignment, size);
      ASSERT_NE(block, nullptr);
      ASSERT_EQ(reinterpret_cast<std::uintptr_t>(block) % alignment, 0u);
      fill_words(block, size, blocks.size());
      blocks.emplace_back(block, size);
    }
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    ASSERT_EQ(first_difference(blocks[i].first, blocks[i].second, blocks[i].second, i),
              blocks[i].second);
  }
  EXPECT_EQ(stats_of(arena_).live_blocks, blocks.size());
  for (const auto& [block, size] : blocks) carrel_free(block);
  EXPECT_EQ(stats_of(arena_).live_blocks, 0u);
  EXPECT_EQ(stats_of(arena_).live_bytes, 0u);
}

TEST_F(ArenaTest, EveryFreeKnowsItsBlocks) {
  for (const std::size_t size : {std::size_t{100}, std::size_t{40000}}) {
    free(carrel_arena_alloc(arena_, size));
    carrel_free(carrel_arena_alloc(arena_, size));
    carrel_free_sized(carrel_arena_alloc(arena_, size), size);
    operator delete(carrel_arena_alloc(arena_, size));
    void* block = carrel_arena_alloc(arena_, size);
    std::thread([block] { free(block); }).join();
    EXPECT_EQ(realloc(carrel_arena_alloc(arena_, size), 0), nullptr);
  }
  EXPECT_EQ(stats_of(arena_).live_blocks, 0u);
  EXPECT_EQ(stats_of(arena_).allocations, 12u);
}

TEST_F(ArenaTest, CallocGivesZeros) {
  for (int round = 0; round < 3; ++round) {
    for (const std::size_t size :
         {std::size_t{1}, std::size_t{300}, 30 * kKiB, 100 * kKiB, 6 * kMiB}) {
      auto* block = static_cast<char*>(carrel_arena_calloc(arena_, size, 1));
      ASSERT_NE(block, nullptr);
      ASSERT_TRUE(block[0] == 0 && std::memcmp(block, block + 1, size - 1) == 0) << size;
      std::memset(block, 0xEE, carrel_usable_size(block));
      carrel_free(block);
    }
  }
  EXPECT_EQ(carrel_arena_calloc(arena_, SIZE_MAX, 2), nullptr);
  EXPECT_EQ(errno, ENOMEM);
}

TEST_F(ArenaTest, ReallocKeepsContentsAndArena) {
  std::mt19937 random(3);
  std::size_t size = 10;
  auto* block = static_cast<char*>(carrel_arena_realloc(arena_, nullptr, size));
  for (int round = 0; round < 300; ++round) {
    ASSERT_NE(block, nullptr);
    ASSERT_EQ(carrel_arena_of(block), arena_);
    fill_words(block, size, static_cast<std::size_t>(round));
    const std::size_t next = round % 3 == 0 ? random() % 500'000 + 1 : random() % 3000 + 1;
    auto* moved = static_cast<char*>(round % 2 == 0 ? carrel_arena_realloc(arena_, block, next)
                                                    : realloc(block, next));
    const std::size_t kept = std::min(size, next) / 8 * 8;
    ASSERT_EQ(first_difference(moved, kept, size, static_cast<std::size_t>(round)), kept);
    block = moved;
    size = next;
    ASSERT_EQ(stats_of(arena_).live_blocks, 1u);
  }
  carrel_free(block);
  EXPECT_EQ(stats_of(arena_).live_bytes, 0u);
}

TEST_F(ArenaTest, BlocksOfTheHeapAreNoArenas) {
  void* block = malloc(100);
  int local = 0;
  EXPECT_EQ(carrel_arena_of(block), nullptr);
  EXPECT_EQ(carrel_arena_of(&local), nullptr);
  EXPECT_EQ(carrel_arena_of(nullptr), nullptr);
  block = carrel_arena_realloc(arena_, block, 5000);
  EXPECT_EQ(carrel_arena_of(block), nullptr) << "a block stays where it is from";
  free(block);
}

TEST_F(ArenaTest, ResetGivesEverythingBackAndMayBeRepeated) {
  const std::uint64_t before = carrel::control("stats.active_bytes");
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 20000; ++i) ASSERT_NE(carrel_arena_alloc(arena_, i % 2000), nullptr);
    ASSERT_NE(carrel_arena_alloc(arena_, 10 * kMiB), nullptr);
    EXPECT_EQ(stats_of(arena_).live_blocks, 20001u);
    EXPECT_GE(carrel::control("stats.active_bytes"), before + 30 * kMiB);
    EXPECT_EQ(carrel_arena_reset(arena_), CARREL_OK);
    EXPECT_EQ(stats_of(arena_).live_blocks, 0u);
    EXPECT_EQ(stats_of(arena_).active_bytes, 0u);
    EXPECT_LE(carrel::control("stats.active_bytes"), before + kMiB);
  }
  EXPECT_GT(stats_of(arena_).peak_bytes, 30 * kMiB);
  EXPECT_EQ(stats_of(arena_).allocations, 60003u);
}

TEST_F(ArenaTest, WalkSeesExactlyTheLiveBlocks) {
  std::map<char*, std::size_t> live;
  std::mt19937 random(5);
  for (int i = 0; i < 30000; ++i) {
    if (random() % 3 == 0 && !live.empty()) {
      auto chosen = live.lower_bound(live.begin()->first + random() % (64 * kMiB));
      if (chosen == live.end()) chosen = live.begin();
      carrel_free(chosen->first);
      live.erase(chosen);
      continue;
    }
    auto* block =
        static_cast<char*>(carrel_arena_alloc(arena_, random() % (i % 200 == 0 ? 200000 : 500)));
    live[block] = carrel_usable_size(block);
  }
  EXPECT_EQ(walk(arena_), live);
  std::size_t bytes = 0;
  for (const auto& [block, size] : live) bytes += size;
  EXPECT_EQ(stats_of(arena_).live_bytes, bytes);
  int calls = 0;
  const auto stop_at_10 = [](void* context, void*, std::size_t) {
    return ++*static_cast<int*>(context) < 10 ? 1 : 0;
  };
  carrel_arena_walk(arena_, stop_at_10, &calls);
  EXPECT_EQ(calls, 10);
}

TEST_F(ArenaTest, FindLeadsFromAnyAddressToItsBlock) {
  carrel_arena* other = carrel_arena_create();
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{48}, std::size_t{5000}, 32 * kKiB, 40 * kKiB, 3 * kMiB}) {
    auto* block = static_cast<char*>(carrel_arena_alloc(arena_, size));
    const std::size_t usable = carrel_usable_size(block);
    for (const std::size_t offset : {std::size_t{0}, usable / 3, usable - 1}) {
      std::size_t found = 0;
      EXPECT_EQ(carrel_arena_find(arena_, block + offset, &found), block) << size << "+" << offset;
      EXPECT_EQ(found, usable);
      EXPECT_EQ(carrel_arena_find(other, block + offset, nullptr), nullptr);
    }
    carrel_free(block);
    EXPECT_EQ(carrel_arena_find(arena_, block, nullptr), nullptr) << "it is free";
  }
  void* of_heap = malloc(100);
  std::mt19937_64 random(7);
  for (int i = 0; i < 10000; ++i) {
    EXPECT_EQ(carrel_arena_find(arena_, reinterpret_cast<void*>(random() >> (i % 60)), nullptr),
              nullptr);
  }
  EXPECT_EQ(carrel_arena_find(arena_, of_heap, nullptr), nullptr);
  EXPECT_EQ(carrel_arena_find(nullptr, of_heap, nullptr), nullptr);
  free(of_heap);
  carrel_arena_destroy(other);
}

TEST_F(ArenaTest, LimitIsNeverExceeded) {
  ASSERT_EQ(carrel_arena_set_limit(arena_, 4 * kMiB), CARREL_OK);
  std::vector<void*> blocks;
  std::mt19937 random(8);
  for (int i = 0; i < 100000; ++i) {
    errno = 0;
    void* block = carrel_arena_alloc(arena_, random() % (i % 50 == 0 ? 100000 : 1000));
    if (block == nullptr) {
      EXPECT_EQ(errno, ENOMEM);
      if (blocks.size() > 1000 && i > 20000) break;
      continue;
    }
    blocks.push_back(block);
    ASSERT_LE(stats_of(arena_).active_bytes, 4 * kMiB);
  }
  EXPECT_GT(stats_of(arena_).live_bytes, 2 * kMiB);
  EXPECT_EQ(carrel_arena_alloc(arena_, 5 * kMiB), nullptr);
  void* large = blocks.back();
  EXPECT_EQ(realloc(large, 5 * kMiB), nullptr);
  EXPECT_EQ(carrel_arena_of(large), arena_) << "a refused realloc leaves the block";
  ASSERT_EQ(carrel_arena_set_limit(arena_, SIZE_MAX), CARREL_OK);
  EXPECT_NE(carrel_arena_alloc(arena_, 5 * kMiB), nullptr);
}

TEST_F(ArenaTest, ManyThreadsShareOne) {
  constexpr int kThreads = 8;
  std::vector<std::atomic<char*>> table(512);
  std::atomic<int> errors{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < 20000; ++i) {
        const std::size_t size = 16 + random() % (i % 100 == 0 ? 100000 : 400);
        auto* block = static_cast<char*>(carrel_arena_alloc(arena_, size));
        block[0] = static_cast<char>(random());
        block[15] = static_cast<char>(~block[0]);
        char* old = table[random() % table.size()].exchange(block);
        if (old == nullptr) continue;
        errors += old[15] != static_cast<char>(~old[0]) ? 1 : 0;
        free(old);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors, 0);
  EXPECT_EQ(walk(arena_).size(), stats_of(arena_).live_blocks);
  for (auto& entry : table) free(entry.load());
  EXPECT_EQ(stats_of(arena_).live_blocks, 0u);
}

TEST_F(ArenaTest, AForkedChildGoesOnWithIt) {
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) free(carrel_arena_alloc(arena_, 100));
  });
  for (int i = 0; i < 30; ++i) {
    const ChildResult child = capture_child([&] {
      void* block = carrel_arena_alloc(arena_, 5000);
      carrel_arena* second = carrel_arena_create();
      if (block == nullptr || second == nullptr) _exit(3);
      carrel_free(block);
      carrel_arena_destroy(second);
      carrel_arena_reset(arena_);
    });
    ASSERT_EQ(child.exit_code, 0);
  }
  stop = true;
  busy.join();
}

TEST_F(ArenaTest, AWalkMayUseTheHeapWhileOthersFork) {
  for (int i = 0; i < 3000; ++i) (void)carrel_arena_alloc(arena_, 200);
  std::atomic<bool> stop{false};
  std::thread walker([&] {
    const auto visit = [](void*, void*, std::size_t size) {
      free(malloc(size * 7));
      return 1;
    };
    while (!stop) {
      carrel_arena_walk(arena_, visit, nullptr);
      std::thread([] { free(malloc(10)); }).join();
    }
  });
  for (int i = 0; i < 30; ++i) ASSERT_EQ(capture_child([] { free(malloc(10)); }).exit_code, 0);
  stop = true;
  walker.join();
}

TEST_F(ArenaTest, AVisitorMayAllocateBeyondTheSoftLimit) {
  for (int i = 0; i < 3000; ++i) (void)carrel_arena_alloc(arena_, 200);
  carrel::set_control("option.soft_limit_mib", std::uint64_t{1});
  const auto visit = [](void*, void*, std::size_t) {
    for (const std::size_t size : {100u, 20000u, 300000u}) free(malloc(size));
    return 1;
  };
  EXPECT_EQ(carrel_arena_walk(arena_, visit, nullptr), CARREL_OK);
  carrel::set_control("option.soft_limit_mib", std::uint64_t{0});
}

/// What is in use and yet no part of anything: a span on its way, or in quarantine.
std::uint64_t unaccounted_bytes() {
  const carrel_stats stats = carrel::statistics();
  return stats.active_bytes - stats.slab_bytes - stats.large_bytes - stats.arena_bytes;
}

TEST_F(ArenaTest, AForkWhileOthersResetLosesNothing) {
  const std::uint64_t before = unaccounted_bytes();
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) {
      for (int i = 0; i < 200; ++i) (void)carrel_arena_alloc(arena_, 3000);
      carrel_arena_reset(arena_);
    }
  });
  for (int i = 0; i < 30; ++i) {
    const ChildResult child = capture_child([before] {
      if (unaccounted_bytes() > before + 200 * kKiB) _exit(3);  // a reset frees 600
    });
    EXPECT_EQ(child.exit_code, 0);
  }
  stop = true;
  busy.join();
}

TEST(Arena, BadArgumentsAreRefused) {
  errno = 0;
  EXPECT_EQ(carrel_arena_alloc(nullptr, 10), nullptr);
  EXPECT_EQ(errno, EINVAL);
  carrel_arena* arena = carrel_arena_create();
  for (const std::size_t alignment : {std::size_t{0}, std::size_t{3}, std::size_t{48}}) {
    errno = 0;
    EXPECT_EQ(carrel_arena_aligned_alloc(arena, alignment, 10), nullptr);
    EXPECT_EQ(errno, EINVAL);
  }
  for (const std::size_t size : impossible_sizes()) {
    errno = 0;
    EXPECT_EQ(carrel_arena_alloc(arena, size), nullptr);
    EXPECT_EQ(errno, ENOMEM);
  }
  carrel_arena_stats stats;
  EXPECT_EQ(carrel_arena_stats_read(nullptr, &stats, sizeof stats), CARREL_BAD_ARGUMENT);
  EXPECT_EQ(carrel_arena_stats_read(arena, nullptr, 8), CARREL_BAD_ARGUMENT);
  EXPECT_EQ(carrel_arena_set_limit(nullptr, 8), CARREL_BAD_ARGUMENT);
  EXPECT_EQ(carrel_arena_reset(nullptr), CARREL_BAD_ARGUMENT);
  EXPECT_EQ(carrel_arena_walk(arena, nullptr, nullptr), CARREL_BAD_ARGUMENT);
  EXPECT_EQ(carrel_arena_destroy(nullptr), CARREL_OK);
  EXPECT_EQ(carrel_arena_destroy(arena), CARREL_OK);
  EXPECT_EQ(carrel_arena_destroy(arena), CARREL_BAD_ARGUMENT) << "destroyed twice";
  EXPECT_EQ(carrel_arena_alloc(arena, 10), nullptr) << "allocated from a destroyed one";
  EXPECT_EQ(carrel_arena_reset(arena), CARREL_BAD_ARGUMENT) << "reset a destroyed one";
  errno = 0;
  EXPECT_EQ(carrel_arena_calloc(nullptr, SIZE_MAX, 2), nullptr);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(carrel_arena_number(nullptr), UINT32_MAX);
}

TEST(Arena, ThousandsMayExist) {
  const std::uint64_t before = carrel::control("stats.arenas");
  std::vector<carrel_arena*> arenas;
  std::set<std::uint32_t> numbers;
  for (int i = 0; i < 3000; ++i) {
    arenas.push_back(carrel_arena_create());
    ASSERT_NE(arenas.back(), nullptr);
    EXPECT_TRUE(numbers.insert(carrel_arena_number(arenas.back())).second);
    if (i % 10 == 0) {
      ASSERT_NE(carrel_arena_alloc(arenas.back(), 100), nullptr);
    }
  }
  EXPECT_EQ(carrel::control("stats.arenas"), before + 3000);
  for (carrel_arena* arena : arenas) carrel_arena_destroy(arena);
  EXPECT_EQ(carrel::control("stats.arenas"), before);
  const std::uint64_t metadata = carrel::control("stats.metadata_bytes");
  for (int i = 0; i < 10000; ++i) carrel_arena_destroy(carrel_arena_create());
  EXPECT_EQ(carrel::control("stats.metadata_bytes"), metadata) << "they are used again";
}

TEST(Arena, ManyThreadsMakeAndEndThem) {
  std::vector<std::thread> threads;
  std::atomic<int> errors{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&errors, t] {
      for (int i = 0; i < 300; ++i) {
        carrel_arena* arena = carrel_arena_create();
        for (int block = 0; block < 50; ++block) {
          auto* bytes = static_cast<char*>(carrel_arena_alloc(arena, 700));
          errors += bytes == nullptr || carrel_arena_of(bytes) != arena ? 1 : 0;
          if (bytes != nullptr) std::memset(bytes, t, 700);
        }
        errors += carrel_arena_destroy(arena) != CARREL_OK ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors, 0);
}

TEST(Arena, ControlsReachItByNumber) {
  carrel::Arena arena;
  const std::string name = "arena." + std::to_string(carrel_arena_number(arena.handle())) + ".";
  const auto control = [&](const char* field) { return carrel::control((name + field).c_str()); };
  void* block = arena.allocate(1000);
  EXPECT_EQ(control("live_bytes"), 1024u);
  EXPECT_EQ(control("live_blocks"), 1u);
  EXPECT_EQ(control("limit_bytes"), UINT64_MAX);
  carrel::set_control((name + "limit_bytes").c_str(), 65536);
  EXPECT_EQ(control("limit_bytes"), 65536u);
  EXPECT_THROW((void)arena.allocate(5000), std::bad_alloc);
  carrel::set_control((name + "limit_bytes").c_str(), "18446744073709551615");
  EXPECT_EQ(carrel_ctl_write_text((name + "limit_bytes").c_str(), "18446744073709551616"),
            CARREL_OUT_OF_RANGE);
  EXPECT_EQ(carrel_ctl_write_u64((name + "live_bytes").c_str(), 1), CARREL_READ_ONLY);
  EXPECT_EQ(carrel_ctl_write_u64((name + "reset").c_str(), 1), CARREL_WRONG_TYPE);
  arena.deallocate(block, 1000);
  (void)arena.allocate(5000);
  carrel::run_control((name + "reset").c_str());
  EXPECT_EQ(control("live_blocks"), 0u);
  EXPECT_EQ(carrel_ctl_run("arena.60000.reset"), CARREL_UNKNOWN_NAME);
  EXPECT_EQ(carrel_ctl_run("arena.x.reset"), CARREL_UNKNOWN_NAME);
}

TEST(Arena, StatisticsOfTheProcessIncludeThem) {
  const carrel_stats before = carrel::statistics();
  carrel::Arena arena;
  for (int i = 0; i < 1000; ++i) (void)arena.allocate(1024);
  const carrel_stats during = carrel::statistics();
  EXPECT_EQ(during.arenas, before.arenas + 1);
  EXPECT_EQ(during.live_blocks, before.live_blocks + 1000);
  EXPECT_EQ(during.live_bytes, before.live_bytes + 1000 * 1024);
  EXPECT_EQ(during.arena_bytes, before.arena_bytes + arena.statistics().active_bytes);
  EXPECT_LE(during.active_bytes + during.free_bytes, during.mapped_bytes);
  const std::string json = carrel::statistics_text(CARREL_JSON);
  EXPECT_NE(json.find("\"arenas\":[\n{\"arena\":"), std::string::npos);
}

TEST(Arena, GlibcsFunctionsCountThem) {
  carrel::Arena arena;
  const struct mallinfo2 before = mallinfo2();
  for (int i = 0; i < 1000; ++i) (void)arena.allocate(4096);
  const struct mallinfo2 during = mallinfo2();
  EXPECT_EQ(during.uordblks - before.uordblks, 1000u * 4096u);
  EXPECT_EQ(during.arena, during.uordblks + during.fordblks);
}

TEST(Arena, PurgeReturnsWhatADestroyedOneHad) {
  carrel_purge();
  const std::uint64_t before = carrel::control("stats.resident_bytes");
  {
    carrel::Arena arena;
    for (int i = 0; i < 30000; ++i) std::memset(arena.allocate(1000), 1, 1000);
    EXPECT_GT(carrel::control("stats.resident_bytes"), before + 25 * kMiB);
  }
  carrel_purge();
  EXPECT_LT(carrel::control("stats.resident_bytes"), before + 4 * kMiB);
}

TEST(Arena, ServesContainers) {
  carrel::Arena arena;
  {
    std::pmr::vector<std::pmr::string> words{&arena};
    for (int i = 0; i < 1000; ++i) words.emplace_back("a word that is too long for the object");
    std::map<int, int, std::less<>, carrel::arena_allocator<std::pair<const int, int>>> table(
        carrel::arena_allocator<std::pair<const int, int>>{arena});
    for (int i = 0; i < 1000; ++i) table[i] = i;
    EXPECT_GE(arena.statistics().live_blocks, 2000u);
    EXPECT_EQ(carrel_arena_of(words[5].data()), arena.handle());
    EXPECT_EQ(carrel_arena_of(&table[7]), arena.handle());
  }
  EXPECT_EQ(arena.statistics().live_blocks, 0u);
  auto* number = arena.make<std::uint64_t>(42u);
  EXPECT_EQ(*number, 42u);
  std::size_t seen = 0;
  arena.for_each_block([&](void* block, std::size_t size) {
    EXPECT_EQ(block, number);
    seen += size;
  });
  EXPECT_EQ(seen, 16u);
  arena.reset();
  carrel::Arena limited(kMiB);
  EXPECT_THROW((void)limited.allocate(2 * kMiB), std::bad_alloc);
  EXPECT_FALSE(limited == arena);
}

}  // namespace
