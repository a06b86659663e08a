// Arenas with options: decay and limits of their own, files, huge pages, nodes, hooks. What a
// machine does not have must be refused with a reason.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <carrel/arena.hpp>
#include <carrel/control.hpp>
#include <random>
#include <thread>
#include <vector>

#include "support/blocks.h"

namespace {

using namespace api_test;

carrel_arena* create(const carrel_arena_options& options, carrel_result expected = CARREL_OK) {
  carrel_arena* arena = reinterpret_cast<carrel_arena*>(1);
  EXPECT_EQ(carrel_arena_create_with(&options, sizeof options, &arena), expected);
  EXPECT_EQ(arena == nullptr, expected != CARREL_OK);
  return arena;
}

carrel_arena_stats stats_of(carrel_arena* arena) {
  carrel_arena_stats stats{};
  EXPECT_EQ(carrel_arena_stats_read(arena, &stats, sizeof stats), CARREL_OK);
  return stats;
}

/// Every size, frees in between, reset: what an arena must do whatever its pages are.
void exercise(carrel_arena* arena, std::size_t largest, int steps) {
  std::mt19937_64 random(7);
  std::vector<std::pair<void*, std::size_t>> blocks;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < steps; ++i) {
      const std::size_t size = (i % 50 == 0 ? random() % largest : random() % 3000) + 1;
      void* block = i % 3 == 0 ? carrel_arena_calloc(arena, 1, size)
                               : carrel_arena_aligned_alloc(arena, 16u << i % 4, size);
      if (block != nullptr) {
        if (i % 3 == 0) {
          ASSERT_TRUE(is_zero(block, size)) << size;
        }
        fill_words(block, size, size);
        blocks.emplace_back(block, size);
      }
      if (block == nullptr || random() % 2 == 0) {
        if (blocks.empty()) continue;
        std::swap(blocks[random() % blocks.size()], blocks.back());
        const auto [old, bytes] = blocks.back();
        ASSERT_EQ(first_difference(old, bytes, bytes, bytes), bytes);
        carrel_free(old);
        blocks.pop_back();
      }
    }
    ASSERT_EQ(stats_of(arena).live_blocks, blocks.size());
    for (const auto& [block, size] : blocks) {
      ASSERT_EQ(first_difference(block, size, size, size), size);
    }
    blocks.clear();
    ASSERT_EQ(carrel_arena_reset(arena), CARREL_OK);
    carrel_purge();
  }
}

TEST(ArenaOptions, NothingOfItsOwnIsAnOrdinaryArena) {
  carrel_arena* arena = create({});
  exercise(arena, 1 * kMiB, 3000);
  EXPECT_EQ(stats_of(arena).limit_bytes, UINT64_MAX);
  EXPECT_EQ(stats_of(arena).soft_limit_bytes, UINT64_MAX);
  EXPECT_EQ(stats_of(arena).decay_ms, UINT32_MAX);
  EXPECT_EQ(carrel_arena_destroy(arena), CARREL_OK);
}

TEST(ArenaOptions, BadOnesAreRefused) {
  carrel_arena* arena = nullptr;
  carrel_arena_options options{};
  EXPECT_EQ(carrel_arena_create_with(nullptr, sizeof options, &arena), CARREL_BAD_ARGUMENT);
  EXPECT_EQ(carrel_arena_create_with(&options, sizeof options, nullptr), CARREL_BAD_ARGUMENT);
  EXPECT_EQ(carrel_arena_create_with(&options, 8, &arena), CARREL_BAD_ARGUMENT);
  create({.decay_ms = 20'001}, CARREL_OUT_OF_RANGE);
  create({.own_decay = 2}, CARREL_OUT_OF_RANGE);
  create({.pages = static_cast<carrel_pages>(5)}, CARREL_OUT_OF_RANGE);
  create({.pages = CARREL_PAGES_OF_HOOKS}, CARREL_BAD_ARGUMENT);
  create({.pages = CARREL_PAGES_OF_FILE, .fd = -1, .file_bytes = kMiB}, CARREL_BAD_ARGUMENT);
  EXPECT_EQ(carrel_arena_region(nullptr, nullptr), nullptr);
}

TEST(ArenaOptions, LivesOfDifferentKindsShareNothing) {
  // The same arena, once with pages of its own and once without.
  for (int life = 0; life < 3; ++life) {
    EXPECT_EQ(carrel_arena_destroy(create({.pages = CARREL_PAGES_ADVISED_HUGE})), CARREL_OK);
    carrel_arena* plain = carrel_arena_create();
    ASSERT_NE(plain, nullptr);
    EXPECT_EQ(stats_of(plain).purged_bytes, 0u);
    EXPECT_EQ(carrel_arena_destroy(plain), CARREL_OK);
  }
  const int file = memfd_create("lives", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(file, 8 * kMiB), 0);
  const auto open_arena = [&](std::uint64_t offset) {
    return create(
        {.pages = CARREL_PAGES_OF_FILE, .fd = file, .file_offset = offset, .file_bytes = 4 * kMiB});
  };
  carrel_arena* first = open_arena(0);
  carrel_arena* second = open_arena(4 * kMiB);
  EXPECT_NE(carrel_arena_region(first, nullptr), nullptr);
  EXPECT_NE(carrel_arena_region(second, nullptr), nullptr);
  EXPECT_NE(carrel_arena_region(first, nullptr), carrel_arena_region(second, nullptr));
  EXPECT_EQ(carrel_arena_destroy(first), CARREL_OK);
  EXPECT_EQ(carrel_arena_destroy(second), CARREL_OK);
  close(file);
}

TEST(ArenaOptions, AHookKeepsErrnoOfAFree) {
  static const carrel_page_hooks hooks = {
      .commit = [](void*, void* start, std::size_t bytes) -> int {
        return mprotect(start, bytes, PROT_READ | PROT_WRITE) == 0 ? 1 : 0;
      },
      .purge = [](void*, void* start, std::size_t bytes) -> int {
        const int done = madvise(start, bytes, MADV_DONTNEED);
        errno = EIO;
        return done == 0 ? 1 : 0;
      },
  };
  carrel_arena* arena =
      create({.own_decay = 1, .decay_ms = 0, .pages = CARREL_PAGES_OF_HOOKS, .hooks = &hooks});
  void* block = carrel_arena_alloc(arena, kMiB);
  ASSERT_NE(block, nullptr);
  std::memset(block, 1, kMiB);
  errno = 77;
  carrel_free(block);
  EXPECT_EQ(errno, 77);
  EXPECT_GT(stats_of(arena).purged_bytes, 0u);
  EXPECT_EQ(carrel_arena_destroy(arena), CARREL_OK);
}

TEST(ArenaOptions, OptionsOfOtherVersions) {
  struct Later {
    carrel_arena_options known;
    std::uint64_t more;
  } later = {};
  carrel_arena* arena = nullptr;
  const auto make = [&] { return carrel_arena_create_with(&later.known, sizeof later, &arena); };
  EXPECT_EQ(make(), CARREL_OK);
  EXPECT_EQ(carrel_arena_destroy(arena), CARREL_OK);
  later.more = 1;
  EXPECT_EQ(make(), CARREL_UNAVAILABLE) << "it wishes for something that is not known here";
}

TEST(ArenaOptions, DecayIsItsOwn) {
  carrel_ctl_write_u64("option.purge_thread", 1);
  carrel_arena* slow = create({.own_decay = 1, .decay_ms = 20'000});
  carrel_arena* fast = create({.own_decay = 1, .decay_ms = 100});
  for (carrel_arena* arena : {slow, fast}) {
    void* block = carrel_arena_alloc(arena, 8 * kMiB);
    ASSERT_NE(block, nullptr);
    std::memset(block, 1, 8 * kMiB);
    carrel_free(block);
    // It rests here, and serves the next one.
    block = carrel_arena_alloc(arena, 4 * kMiB);
    EXPECT_GE(stats_of(arena).free_bytes + stats_of(arena).purged_bytes, 4 * kMiB);
    carrel_free(block);
  }
  EXPECT_EQ(stats_of(slow).decay_ms, 20'000u);
  EXPECT_EQ(stats_of(slow).free_bytes, 8 * kMiB);
  // What is being purged is neither free nor purged yet.
  for (int i = 0; i < 1000 && stats_of(fast).purged_bytes < 8 * kMiB; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(stats_of(fast).free_bytes, 0u);
  EXPECT_GE(stats_of(fast).purged_bytes, 8 * kMiB);
  EXPECT_EQ(stats_of(slow).free_bytes, 8 * kMiB);  // unless that took ten seconds
  carrel_purge();
  EXPECT_EQ(stats_of(slow).free_bytes, 0u);
  EXPECT_EQ(carrel_arena_destroy(slow), CARREL_OK);
  EXPECT_EQ(carrel_arena_destroy(fast), CARREL_OK);
}

TEST(ArenaOptions, LimitsCountWhatRests) {
  carrel_arena* arena = create(
      {.limit_bytes = 4 * kMiB, .soft_limit_bytes = 2 * kMiB, .own_decay = 1, .decay_ms = 20'000});
  exercise(arena, 1 * kMiB, 3000);
  EXPECT_LE(stats_of(arena).peak_bytes, 4 * kMiB);
  std::vector<void*> blocks;
  for (void* block; (block = carrel_arena_alloc(arena, 100'000)) != nullptr;) {
    blocks.push_back(block);
    ASSERT_LE(stats_of(arena).active_bytes + stats_of(arena).free_bytes, 4 * kMiB);
  }
  EXPECT_GE(blocks.size(), 20u);
  // Beyond the soft limit nothing rests.
  carrel_free(blocks.back());
  blocks.pop_back();
  EXPECT_EQ(stats_of(arena).free_bytes, 0u);
  for (void* block : blocks) carrel_free(block);
  EXPECT_GT(stats_of(arena).free_bytes, 0u);
  // What rests in pieces that are too short makes room for a large block.
  void* most = carrel_arena_alloc(arena, 4 * kMiB);
  EXPECT_NE(most, nullptr);
  EXPECT_EQ(carrel_arena_alloc(arena, 1), nullptr);
  EXPECT_EQ(carrel_arena_destroy(arena), CARREL_OK);
}

TEST(ArenaOptions, SharedMemoryIsSeenThroughItsFile) {
  const int file = memfd_create("arena", MFD_CLOEXEC);
  ASSERT_GE(file, 0);
  constexpr std::size_t kBytes = 8 * kMiB;
  const carrel_arena_options options = {
      .pages = CARREL_PAGES_OF_FILE, .fd = file, .file_offset = 4096, .file_bytes = kBytes};
  create(options, CARREL_BAD_ARGUMENT);  // too short
  ASSERT_EQ(ftruncate(file, kBytes + 4096), 0);
  create({.pages = CARREL_PAGES_OF_FILE, .fd = file, .file_bytes = 1000}, CARREL_OUT_OF_RANGE);
  create({.pages = CARREL_PAGES_OF_FILE, .fd = file, .file_offset = 1, .file_bytes = kMiB},
         CARREL_OUT_OF_RANGE);
  std::vector<char> dirt(kBytes, 'x');
  ASSERT_EQ(pwrite(file, dirt.data(), kBytes, 4096), static_cast<ssize_t>(kBytes));
  carrel_arena* arena = create(options);
  std::size_t bytes = 0;
  auto* region = static_cast<char*>(carrel_arena_region(arena, &bytes));
  ASSERT_NE(region, nullptr);
  EXPECT_EQ(bytes, kBytes);
  exercise(arena, 1 * kMiB, 3000);
  auto* block = static_cast<char*>(carrel_arena_alloc(arena, 100));
  std::strcpy(block, "seen by others");
  char text[16] = {};
  ASSERT_EQ(pread(file, text, sizeof text - 1, 4096 + (block - region)), 15);
  EXPECT_STREQ(text, "seen by others");
  // The whole of it, and no more.
  EXPECT_EQ(carrel_arena_alloc(arena, kBytes), nullptr);
  carrel_free(block);
  block = static_cast<char*>(carrel_arena_calloc(arena, 1, kBytes));
  ASSERT_EQ(block, region);
  EXPECT_TRUE(is_zero(block, kBytes));
  EXPECT_EQ(carrel_arena_alloc(arena, 1), nullptr);
  EXPECT_EQ(carrel_arena_destroy(arena), CARREL_OK);
  close(file);
  // Its address space is the heap's again, ordinary and zero.
  void* again = carrel_calloc(1, kBytes);
  EXPECT_TRUE(is_zero(again, kBytes));
  carrel_free(again);
}

TEST(ArenaOptions, AdvisedHugePagesCount) {
  carrel_arena* arena = create({.pages = CARREL_PAGES_ADVISED_HUGE});
  exercise(arena, 3 * kMiB, 3000);
  void* block = carrel_arena_alloc(arena, 16 * kMiB);
  ASSERT_NE(block, nullptr);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % (2 * kMiB), 0u);
  std::memset(block, 1, 16 * kMiB);
  const int setting = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY);
  char text[64] = {};
  const bool known = setting >= 0 && read(setting, text, sizeof text - 1) > 0;
  if (setting >= 0) close(setting);
  const std::uint64_t huge = carrel::control("stats.huge_bytes");
  if (known && std::strstr(text, "[never]") == nullptr && huge == 0) {
    GTEST_LOG_(INFO) << "the system has no huge pages to give";
  }
  EXPECT_EQ(huge % (2 * kMiB), 0u);
  EXPECT_LE(huge, carrel::control("stats.mapped_bytes"));
  EXPECT_EQ(carrel_arena_destroy(arena), CARREL_OK);
}

TEST(ArenaOptions, ReservedHugePagesAreThereOrRefused) {
  const carrel_arena_options options = {.pages = CARREL_PAGES_RESERVED_HUGE};
  carrel_arena* arena = nullptr;
  errno = 0;
  const carrel_result result = carrel_arena_create_with(&options, sizeof options, &arena);
  if (result != CARREL_OK) {
    EXPECT_EQ(result, CARREL_UNAVAILABLE);
    EXPECT_NE(errno, 0);
    EXPECT_EQ(arena, nullptr);
    GTEST_SKIP() << "no reserved huge pages (vm.nr_hugepages)";
  }
  auto* block = static_cast<char*>(carrel_arena_calloc(arena, 1, 2 * kMiB));
  ASSERT_NE(block, nullptr);
  EXPECT_TRUE(is_zero(block, 2 * kMiB));
  std::memset(block, 1, 2 * kMiB);
  EXPECT_GE(carrel::control("stats.huge_bytes"), 2 * kMiB);
  EXPECT_EQ(carrel_arena_destroy(arena), CARREL_OK);
}

TEST(ArenaOptions, NodesAreBoundOrRefused) {
  carrel_arena* arena = nullptr;
  carrel_arena_options options = {.numa_nodes = 1};
  errno = 0;
  const carrel_result result = carrel_arena_create_with(&options, sizeof options, &arena);
  if (result == CARREL_OK) {
    exercise(arena, 3 * kMiB, 2000);
    EXPECT_EQ(carrel_arena_destroy(arena), CARREL_OK);
  } else {
    EXPECT_EQ(result, CARREL_UNAVAILABLE);
    EXPECT_TRUE(errno == ENOSYS || errno == EPERM) << errno;
  }
  // No machine that this runs on has 64 nodes.
  options.numa_nodes = std::uint64_t{1} << 63;
  errno = 0;
  EXPECT_EQ(carrel_arena_create_with(&options, sizeof options, &arena), CARREL_UNAVAILABLE);
  EXPECT_TRUE(errno == EINVAL || errno == ENOSYS || errno == EPERM) << errno;
  EXPECT_EQ(arena, nullptr);
}

/// Hooks that map ordinary memory and keep count.
struct Pages {
  std::size_t committed = 0;
  std::size_t purged = 0;
  std::size_t released = 0;
  std::size_t most = SIZE_MAX;

  static int commit(void* context, void* address, std::size_t size) {
    Pages& pages = *static_cast<Pages*>(context);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(address) % (2 * kMiB), 0u);
    EXPECT_EQ(size % (2 * kMiB), 0u);
    if (pages.committed + size > pages.most) return 0;
    pages.committed += size;
    void* got =
        mmap(address, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    std::memset(address, 0xAB, size);
    return got == address ? 1 : 0;
  }
  static int purge(void* context, void* address, std::size_t size) {
    static_cast<Pages*>(context)->purged += size;
    return madvise(address, size, MADV_DONTNEED) == 0 ? 1 : 0;
  }
  static void release(void* context, void*, std::size_t size) {
    static_cast<Pages*>(context)->released += size;
  }
};

TEST(ArenaOptions, HooksBackPurgeAndRelease) {
  Pages pages;
  const carrel_page_hooks hooks = {
      .context = &pages, .commit = Pages::commit, .purge = Pages::purge, .release = Pages::release};
  carrel_arena* arena =
      create({.own_decay = 1, .decay_ms = 0, .pages = CARREL_PAGES_OF_HOOKS, .hooks = &hooks});
  EXPECT_EQ(pages.committed, 2 * kMiB);
  exercise(arena, 3 * kMiB, 3000);
  EXPECT_GT(pages.committed, 2 * kMiB);
  EXPECT_GT(pages.purged, 0u);
  EXPECT_EQ(pages.released, 0u);
  EXPECT_EQ(carrel_arena_destroy(arena), CARREL_OK);
  EXPECT_EQ(pages.released, pages.committed);
}

TEST(ArenaOptions, HooksMayRefuse) {
  Pages pages;
  pages.most = 1;
  const carrel_page_hooks hooks = {
      .context = &pages, .commit = Pages::commit, .purge = nullptr, .release = nullptr};
  create({.pages = CARREL_PAGES_OF_HOOKS, .hooks = &hooks}, CARREL_UNAVAILABLE);
  pages.most = 6 * kMiB;
  carrel_arena* arena = create({.pages = CARREL_PAGES_OF_HOOKS, .hooks = &hooks});
  exercise(arena, 3 * kMiB, 2000);
  EXPECT_EQ(carrel_arena_alloc(arena, 10 * kMiB), nullptr);
  EXPECT_LE(pages.committed, 6 * kMiB);
  const carrel::Arena other(carrel_arena_options{});  // the C++ owner takes the same
  EXPECT_NE(other.handle(), nullptr);
  EXPECT_EQ(carrel_arena_destroy(arena), CARREL_OK);
}

TEST(ArenaOptions, ManyLivesInTurnAndThreadsAtOnce) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int life = 0; life < 20; ++life) {
        carrel_arena* arena = create(
            {.own_decay = 1,
             .decay_ms = life % 2 == 0 ? 0u : 20'000u,
             .pages = (life + t) % 3 == 0 ? CARREL_PAGES_ADVISED_HUGE : CARREL_PAGES_OF_HEAP});
        exercise(arena, 300'000, 300);
        EXPECT_EQ(carrel_arena_destroy(arena), CARREL_OK);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
