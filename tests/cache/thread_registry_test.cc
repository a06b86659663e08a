// cache/thread_registry.h: who has a cache, and which shard it was dealt to.
#include "cache/thread_registry.h"

#include <set>
#include <thread>
#include <vector>

#include "fake_os_test.h"

namespace carrel::core {
namespace {

class ThreadRegistryTest : public FakeOsTest {
 protected:
  std::set<const ThreadCache*> listed() {
    std::set<const ThreadCache*> caches;
    registry_.for_each([&](const ThreadCache& cache) { caches.insert(&cache); });
    EXPECT_EQ(caches.size(), registry_.count());
    return caches;
  }

  MetadataArena<FakeOs> metadata_;
  ThreadRegistry<FakeOs> registry_{metadata_};
};

TEST_F(ThreadRegistryTest, ANewCacheIsReadyForUse) {
  ThreadCache* cache = registry_.attach(2);
  ASSERT_NE(cache, nullptr);
  EXPECT_TRUE(cache->attached);
  EXPECT_LT(cache->shard, 2u);
  EXPECT_EQ(cache->own_group_mask, 0xFFu & ~group_bit(cache->shard));
  for (const CacheBin& bin : cache->bins) EXPECT_EQ(bin.capacity(), 0u);
}

TEST_F(ThreadRegistryTest, ThreadsAreDealtToShardsInTurn) {
  std::vector<int> threads(3);
  for (int i = 0; i < 30; ++i) ++threads[registry_.attach(3)->shard];
  EXPECT_EQ(threads, (std::vector<int>{10, 10, 10}));
}

TEST_F(ThreadRegistryTest, ListsExactlyTheAttached) {
  std::vector<ThreadCache*> caches;
  for (int i = 0; i < 5; ++i) caches.push_back(registry_.attach(2));
  EXPECT_EQ(listed(), std::set<const ThreadCache*>(caches.begin(), caches.end()));
  registry_.detach(caches[2]);
  registry_.detach(caches[0]);
  registry_.detach(caches[4]);
  EXPECT_EQ(listed(), (std::set<const ThreadCache*>{caches[1], caches[3]}));
}

TEST_F(ThreadRegistryTest, RecordsOfGoneThreadsAreReused) {
  registry_.detach(registry_.attach(2));
  const std::size_t mapped = metadata_.mapped_bytes();
  for (int i = 0; i < 1000; ++i) {
    ThreadCache* cache = registry_.attach(2);
    EXPECT_TRUE(cache->attached);
    EXPECT_EQ(cache->given_bytes, 0u) << "something of its predecessor is left";
    cache->given_bytes = 5;
    registry_.detach(cache);
  }
  EXPECT_EQ(metadata_.mapped_bytes(), mapped);
}

TEST_F(ThreadRegistryTest, WithoutMetadataThereIsNone) {
  FakeOs::fail_call(1, true);
  EXPECT_EQ(registry_.attach(2), nullptr);
  EXPECT_EQ(registry_.count(), 0u);
  FakeOs::fail_call(0);
  EXPECT_NE(registry_.attach(2), nullptr);
}

TEST_F(ThreadRegistryTest, ThreadsMayComeAndGoTogether) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this] {
      for (int i = 0; i < 2000; ++i) registry_.detach(registry_.attach(4));
    });
  }
  for (int i = 0; i < 100; ++i) registry_.for_each([](const ThreadCache&) {});
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(registry_.count(), 0u);
}

}  // namespace
}  // namespace carrel::core
