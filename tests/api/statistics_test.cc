// carrel_stats_*: the figures add up, follow what the program does, and the functions refuse what
// they cannot do. What the kernel says is compared in process/reconcile.cc, the forms of output
// in check_statistics.py.
#include <gtest/gtest.h>

#include <carrel/control.hpp>
#include <thread>

#include "support/blocks.h"

namespace {

using namespace api_test;

std::vector<carrel_class_stats> classes() {
  std::vector<carrel_class_stats> all(carrel_stats_classes(nullptr, 0));
  EXPECT_EQ(carrel_stats_classes(all.data(), all.size()), all.size());
  return all;
}

std::vector<carrel_shard_stats> shards() {
  std::vector<carrel_shard_stats> all(carrel_stats_shards(nullptr, 0));
  EXPECT_EQ(carrel_stats_shards(all.data(), all.size()), all.size());
  return all;
}

std::vector<void*> allocate_all(std::size_t count, std::size_t size) {
  std::vector<void*> blocks(count);
  for (void*& block : blocks) {
    block = malloc(size);
    EXPECT_NE(block, nullptr);
    std::memset(block, 1, size);
  }
  return blocks;
}

void free_all(const std::vector<void*>& blocks) {
  for (void* block : blocks) free(block);
}

TEST(CarrelStats, LiveBytesFollowTheProgram) {
  const carrel_stats before = carrel::statistics();
  const std::vector<void*> blocks = allocate_all(10000, 1000);
  void* large = malloc(5 * kMiB);
  const carrel_stats during = carrel::statistics();
  const std::uint64_t vector_bytes = carrel_usable_size(blocks.data());
  EXPECT_EQ(during.live_blocks - before.live_blocks, 10002u);
  EXPECT_EQ(during.live_bytes - before.live_bytes, 10000 * 1024 + 5 * kMiB + vector_bytes);
  EXPECT_EQ(during.large_blocks - before.large_blocks, vector_bytes > 32 * kKiB ? 2u : 1u);
  free_all(blocks);
  free(large);
  const carrel_stats after = carrel::statistics();
  EXPECT_EQ(after.live_blocks - before.live_blocks, 1u);
  EXPECT_GT(after.refills, before.refills + 1);
  EXPECT_GT(after.flushes, before.flushes + 1);
}

TEST(CarrelStats, PartsAddUp) {
  const std::vector<void*> blocks = allocate_all(5000, 300);
  const carrel_stats stats = carrel::statistics();
  // More, since large blocks are counted in pages and lie in granules, and some may be in
  // quarantine.
  EXPECT_GE(stats.active_bytes, stats.slab_bytes + stats.large_bytes + stats.arena_bytes);
  EXPECT_LE(stats.live_bytes + stats.cached_bytes, stats.active_bytes);
  EXPECT_LE(stats.touched_bytes, stats.free_bytes);
  EXPECT_LE(stats.active_bytes + stats.free_bytes, stats.mapped_bytes);
  EXPECT_LE(stats.resident_bytes, stats.mapped_bytes);
  EXPECT_GT(stats.resident_bytes, 5000u * 300u);
  EXPECT_LE(stats.metadata_resident_bytes, stats.metadata_bytes);
  EXPECT_GT(stats.metadata_resident_bytes, 0u);
  free_all(blocks);
}

TEST(CarrelStats, ClassesAndShardsAddUpToTheTotals) {
  const std::vector<void*> blocks = allocate_all(3000, 100);
  const std::vector<carrel_class_stats> of_classes = classes();
  const std::vector<carrel_shard_stats> of_shards = shards();
  const carrel_stats stats = carrel::statistics();
  std::uint64_t live = stats.large_blocks;
  std::uint64_t refills = 0;
  std::uint64_t slabs = 0;
  std::uint64_t last_bytes = 0;
  for (const carrel_class_stats& of_class : of_classes) {
    EXPECT_GT(of_class.block_bytes, last_bytes);
    last_bytes = of_class.block_bytes;
    EXPECT_LE(of_class.live_blocks + of_class.cached_blocks, of_class.slots);
    live += of_class.live_blocks;
    refills += of_class.refills;
    slabs += of_class.slabs;
  }
  EXPECT_EQ(last_bytes, 32 * kKiB);
  EXPECT_EQ(of_classes[6].block_bytes, 112u);
  EXPECT_GE(of_classes[6].live_blocks, 2950u);  // a hardened build places a few elsewhere
  EXPECT_NEAR(static_cast<double>(live), static_cast<double>(stats.live_blocks), 10);
  EXPECT_NEAR(static_cast<double>(refills), static_cast<double>(stats.refills), 10);
  std::uint64_t shard_slabs = 0;
  std::uint64_t threads = 0;
  std::uint64_t slab_bytes = 0;
  for (const carrel_shard_stats& of_shard : of_shards) {
    shard_slabs += of_shard.slabs;
    threads += of_shard.threads;
    slab_bytes += of_shard.slab_bytes;
    EXPECT_LE(of_shard.used_bytes, of_shard.slab_bytes);
  }
  EXPECT_NEAR(static_cast<double>(shard_slabs), static_cast<double>(slabs), 2);
  EXPECT_EQ(threads, stats.threads);
  EXPECT_NEAR(static_cast<double>(slab_bytes), static_cast<double>(stats.slab_bytes), 2e6);
  free_all(blocks);
}

TEST(CarrelStats, ThreadsAreCountedWhileTheyHaveACache) {
  const std::uint64_t before = carrel::control("stats.threads");
  std::uint64_t during = 0;
  std::thread([&during] {
    free(malloc(100));
    during = carrel::control("stats.threads");
  }).join();
  EXPECT_EQ(during, before + 1);
  EXPECT_EQ(carrel::control("stats.threads"), before);
}

TEST(CarrelStats, FreesBySomebodyElseAreCountedAsRemote) {
  if (carrel_stats_shards(nullptr, 0) < 2) GTEST_SKIP() << "one shard has no remote frees";
  const std::uint64_t before = carrel::control("stats.remote_frees");
  std::vector<void*> blocks = allocate_all(5000, 200);
  const std::uint64_t home = carrel::control("thread.shard");
  bool remote = false;
  for (int i = 0; i < 4 && !remote; ++i) {  // threads are dealt to the shards in turn
    std::thread([&] {
      free(malloc(1));
      remote = carrel::control("thread.shard") != home;
      if (remote) free_all(blocks);
    }).join();
  }
  ASSERT_TRUE(remote);
  EXPECT_GE(carrel::control("stats.remote_frees"), before + 4000);
}

TEST(CarrelStats, PurgesAreCounted) {
  free_all(allocate_all(100, 200 * kKiB));
  const carrel_stats before = carrel::statistics();
  const std::size_t purged = carrel_purge();
  const carrel_stats after = carrel::statistics();
  EXPECT_GE(after.purged_bytes, before.purged_bytes + purged);
  EXPECT_GT(after.purged_bytes, 15 * kMiB);
  EXPECT_GE(after.purges, before.purges);
  EXPECT_LE(after.touched_bytes, before.touched_bytes);
}

TEST(CarrelStats, CallersOfOtherVersionsAreServed) {
  struct {
    carrel_stats known;
    std::uint64_t newer[2];
  } larger;
  std::memset(&larger, 0xFF, sizeof larger);
  ASSERT_EQ(carrel_stats_read(&larger.known, sizeof larger), CARREL_OK);
  EXPECT_EQ(larger.newer[0] + larger.newer[1], 0u);
  EXPECT_GT(larger.known.mapped_bytes, 0u);
  std::uint64_t older[3] = {1, 1, 77};
  ASSERT_EQ(carrel_stats_read(reinterpret_cast<carrel_stats*>(older), 16), CARREL_OK);
  EXPECT_GT(older[0], 1u);
  EXPECT_EQ(older[2], 77u) << "wrote beyond the size it was given";
  EXPECT_EQ(carrel_stats_read(nullptr, 8), CARREL_BAD_ARGUMENT);
}

TEST(CarrelStats, PrintRefusesWhatItCannotDo) {
  const auto write = [](void* context, const char*, std::size_t) { ++*static_cast<int*>(context); };
  int calls = 0;
  EXPECT_EQ(carrel_stats_print(CARREL_TEXT, nullptr, &calls), CARREL_BAD_ARGUMENT);
  EXPECT_EQ(carrel_stats_print(static_cast<carrel_format>(7), write, &calls), CARREL_OUT_OF_RANGE);
  EXPECT_EQ(calls, 0);
}

TEST(CarrelStats, WhoReceivesTheTextMayAllocateAndFree) {
  for (const carrel_format format : {CARREL_TEXT, CARREL_JSON, CARREL_PROMETHEUS}) {
    std::thread([format] {
      std::vector<std::string> pieces;
      const auto keep = [](void* context, const char* text, std::size_t size) {
        static_cast<std::vector<std::string>*>(context)->emplace_back(text, size);
        std::thread([] { free(malloc(100)); }).join();  // takes every lock there is
      };
      EXPECT_EQ(carrel_stats_print(format, keep, &pieces), CARREL_OK);
      EXPECT_GT(pieces.size(), 1u);
    }).join();
  }
}

TEST(CarrelStats, TextNamesEveryTotal) {
  const std::string text = carrel::statistics_text();
  for (const carrel_ctl_info& info : carrel::controls()) {
    const std::string name = info.name;
    if (name.rfind("stats.", 0) != 0) continue;
    EXPECT_NE(text.find("  " + name.substr(6) + " "), std::string::npos) << name;
  }
}

}  // namespace
