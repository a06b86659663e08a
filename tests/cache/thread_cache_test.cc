// cache/thread_cache.h: what a cache takes, keeps and gives back. Its fast half, push and
// pop, is played here by the test; the heap does the same (heap/heap.h).
#include "cache/thread_cache.h"

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "fake_os_test.h"
#include "heap/heap.h"
#include "pool_walker.h"

namespace carrel::core {
namespace {

constexpr std::uint8_t kSmall = size_class_for(32);  // grouped: less than a cache line
constexpr std::uint8_t kMiddle = size_class_for(256);

class ThreadCacheTest : public FakeOsTest {
 protected:
  ThreadCacheTest() {
    EXPECT_TRUE(map_.initialize(64 * kGiB));
    EXPECT_TRUE(shards_.initialize(2));
    limits_.compute(32 * kKiB, 4, 256);
    for (std::uint32_t shard = 0; shard < 2; ++shard) {
      shards_.prepare(shard);
      caches_[shard].shard = shard;
      caches_[shard].own_group_mask = 0xFFu & ~group_bit(shard);
      caches_[shard].attached = true;
    }
  }

  char* allocate(ThreadCache& cache, std::uint8_t id) {
    CacheBin& bin = cache.bins[id];
    if (bin.top != bin.floor) return static_cast<char*>(*--bin.top);
    return static_cast<char*>(keeper_.refill(cache, id));
  }
  void free(ThreadCache& cache, char* block) {
    const std::uint8_t value = map_.class_of(block);
    CacheBin& bin = cache.bin_for(value);
    if (bin.top != bin.ceiling) {
      *bin.top++ = block;
    } else {
      keeper_.push_full(cache, value, block);
    }
  }
  std::vector<char*> allocate(ThreadCache& cache, std::uint8_t id, std::size_t count) {
    std::vector<char*> blocks;
    for (std::size_t i = 0; i < count; ++i) blocks.push_back(allocate(cache, id));
    return blocks;
  }
  void free(ThreadCache& cache, const std::vector<char*>& blocks) {
    for (char* block : blocks) free(cache, block);
  }
  std::size_t used(std::uint8_t id) {
    return shards_.bin(0, id).totals().used_slots + shards_.bin(1, id).totals().used_slots;
  }
  /// The blocks in a bin, the oldest first.
  static std::vector<void*> contents(const CacheBin& bin) {
    EXPECT_LE(bin.floor, bin.top);
    EXPECT_LE(bin.top, bin.ceiling);
    return std::vector<void*>(bin.floor, bin.top);
  }

  PageMap<FakeOs> map_;
  MetadataArena<FakeOs> metadata_;
  SpanPool<FakeOs> pool_{map_, metadata_};
  SlabContext<FakeOs> context_{map_, metadata_, pool_};
  Shards<FakeOs> shards_{context_};
  CacheLimits limits_;
  CacheKeeper<FakeOs> keeper_{shards_, metadata_, limits_};
  ThreadCache caches_[2];
  ThreadCache& cache_ = caches_[0];
  ThreadCache& other_ = caches_[1];
};

TEST_F(ThreadCacheTest, LimitsFollowTheBytesWithinTheirBounds) {
  CacheLimits limits;
  limits.compute(32 * kKiB, 4, 256);
  EXPECT_EQ(limits.max_slots[size_class_for(16)], 256u);
  EXPECT_EQ(limits.max_slots[size_class_for(128)], 256u);
  EXPECT_EQ(limits.max_slots[size_class_for(256)], 128u);
  EXPECT_EQ(limits.max_slots[size_class_for(8192)], 4u);
  EXPECT_EQ(limits.max_slots[size_class_for(32 * kKiB)], 4u);
  limits.compute(0, 4, 256);
  EXPECT_EQ(limits.max_slots[size_class_for(16)], 4u);
}

TEST_F(ThreadCacheTest, TheEmptyCacheIsEmptyAndFullAtOnce) {
  for (const CacheBin& bin : empty_cache.bins) {
    EXPECT_EQ(bin.top, bin.floor) << "malloc must leave the fast path";
    EXPECT_EQ(bin.top, bin.ceiling) << "free must leave the fast path";
  }
  EXPECT_FALSE(empty_cache.attached);
}

TEST_F(ThreadCacheTest, EveryMapValueHasABin) {
  for (std::uint32_t shard = 0; shard < 2; ++shard) {
    for (std::uint8_t id = 1; id <= kClassCount; ++id) {
      for (const ThreadCache* cache : {&cache_, &other_}) {
        EXPECT_LT(class_map_value(id, shard) & cache->own_group_mask, kCacheBinCount);
      }
      EXPECT_LT(class_map_value(id, shard) & empty_cache.own_group_mask, kCacheBinCount);
    }
  }
  EXPECT_LT(kLargeBlock & cache_.own_group_mask, kCacheBinCount);
}

TEST_F(ThreadCacheTest, AFirstMissTakesAFewBlocks) {
  char* block = allocate(cache_, kMiddle);
  ASSERT_NE(block, nullptr);
  EXPECT_GE(used(kMiddle), 2u);
  EXPECT_LE(used(kMiddle), 8u);
  EXPECT_EQ(contents(cache_.bins[kMiddle]).size() + 1, used(kMiddle));
}

TEST_F(ThreadCacheTest, BlocksComeInAddressOrderFromAFreshSlab) {
  const std::vector<char*> blocks = allocate(cache_, kMiddle, 200);
  for (std::size_t i = 1; i < blocks.size(); ++i) EXPECT_EQ(blocks[i], blocks[i - 1] + 256);
}

TEST_F(ThreadCacheTest, EachMissMakesRoomForMoreUpToTheLimit) {
  std::uint32_t last = 0;
  std::uint32_t misses = 0;
  for (int i = 0; i < 2000; ++i) {
    if (cache_.bins[kMiddle].size() == 0) ++misses;
    allocate(cache_, kMiddle);
    const std::uint32_t capacity = cache_.bins[kMiddle].capacity();
    EXPECT_GE(capacity, last);
    EXPECT_LE(capacity, limits_.max_slots[kMiddle]);
    last = capacity;
  }
  EXPECT_EQ(last, limits_.max_slots[kMiddle] / 2) << "blocks only go: more would serve nobody";
  EXPECT_LE(misses, 5 + 2000 / 32) << "batches must be large";
}

TEST_F(ThreadCacheTest, OnlyTrafficBothWaysFillsTheLimit) {
  const std::uint32_t limit = limits_.max_slots[kMiddle];
  const std::vector<char*> blocks = allocate(cache_, kMiddle, 4 * limit);
  EXPECT_EQ(cache_.bins[kMiddle].capacity(), limit / 2);
  free(other_, blocks);
  EXPECT_EQ(other_.bins[kMiddle].capacity(), limit / 2);
  const std::vector<char*> more = allocate(other_, kMiddle, 4 * limit);
  EXPECT_EQ(other_.bins[kMiddle].capacity(), limit);
  free(other_, more);
}

TEST_F(ThreadCacheTest, EveryClassKeepsItsLimit) {
  for (std::uint8_t id = 1; id <= kClassCount; ++id) {
    const std::vector<char*> blocks = allocate(cache_, id, 300);
    EXPECT_EQ(std::set<char*>(blocks.begin(), blocks.end()).size(), 300u);
    EXPECT_EQ(std::count(blocks.begin(), blocks.end(), nullptr), 0);
    free(cache_, blocks);
    EXPECT_LE(cache_.bins[id].capacity(), limits_.max_slots[id]) << int{id};
    EXPECT_LE(cache_.bins[id].size(), limits_.max_slots[id]);
    EXPECT_EQ(used(id), cache_.bins[id].size()) << "what is not cached went home";
  }
}

TEST_F(ThreadCacheTest, TheBlockFreedLastIsHandedOutFirst) {
  const std::vector<char*> blocks = allocate(cache_, kMiddle, 3);
  free(cache_, blocks);
  EXPECT_EQ(allocate(cache_, kMiddle), blocks[2]);
  EXPECT_EQ(allocate(cache_, kMiddle), blocks[1]);
  EXPECT_EQ(allocate(cache_, kMiddle), blocks[0]);
}

TEST_F(ThreadCacheTest, AFullBinGivesItsOlderHalfBack) {
  const std::uint32_t limit = limits_.max_slots[kMiddle] / 2;  // of one-way traffic
  const std::vector<char*> blocks = allocate(cache_, kMiddle, 3 * limit);
  keeper_.flush(cache_);  // an empty cache, with everything in the test's hands
  std::size_t at = 0;
  do {
    free(cache_, blocks[at++]);
  } while (cache_.bins[kMiddle].size() < limit);
  ASSERT_EQ(cache_.bins[kMiddle].capacity(), limit);
  const std::vector<void*> before = contents(cache_.bins[kMiddle]);
  free(cache_, blocks[at]);
  std::vector<void*> expected(before.begin() + (limit + 1) / 2, before.end());
  expected.push_back(blocks[at]);
  EXPECT_EQ(contents(cache_.bins[kMiddle]), expected);
}

TEST_F(ThreadCacheTest, CachingWritesToNoBlock) {
  const std::vector<char*> blocks = allocate(cache_, kMiddle, 500);
  free(cache_, blocks);
  keeper_.flush(cache_);
  const Span* slab = map_.span_of(blocks[0]);
  EXPECT_EQ(FakeOs::resident_bytes(map_.address(slab->first), kGranuleBytes), 0u);
}

TEST_F(ThreadCacheTest, FlushGivesBackBlocksAndArrays) {
  for (std::uint8_t id = 1; id <= kClassCount; ++id) free(cache_, allocate(cache_, id, 50));
  keeper_.flush(cache_);
  for (std::uint8_t id = 1; id <= kClassCount; ++id) EXPECT_EQ(used(id), 0u) << int{id};
  for (const CacheBin& bin : cache_.bins) EXPECT_EQ(bin.capacity(), 0u);
  const std::size_t mapped = metadata_.mapped_bytes();
  for (int i = 0; i < 1000; ++i) {
    free(cache_, allocate(cache_, kMiddle, 200));
    keeper_.flush(cache_);
  }
  EXPECT_EQ(metadata_.mapped_bytes(), mapped) << "arrays leak";
}

TEST_F(ThreadCacheTest, TellsHowMuchItGaveBack) {
  free(cache_, allocate(cache_, kMiddle, 100));
  EXPECT_EQ(cache_.given_bytes, 0u);
  const std::size_t cached = cache_.bins[kMiddle].size();
  keeper_.flush(cache_);
  EXPECT_EQ(cache_.given_bytes, cached * 256);
}

// --- trimming -------------------------------------------------------------------------

TEST_F(ThreadCacheTest, BinsWithoutTrafficAreGivenBack) {
  free(cache_, allocate(cache_, kMiddle, 20));
  free(cache_, allocate(cache_, kSmall, 20));
  keeper_.trim(cache_, 10);
  char* busy = allocate(cache_, kSmall);
  keeper_.trim(cache_, 15);
  EXPECT_EQ(cache_.bins[kMiddle].capacity(), 0u);
  EXPECT_EQ(used(kMiddle), 0u);
  EXPECT_NE(cache_.bins[kSmall].capacity(), 0u);
  free(cache_, busy);
}

TEST_F(ThreadCacheTest, LooksAreHalfASecondApart) {
  free(cache_, allocate(cache_, kMiddle, 20));
  keeper_.trim(cache_, 10);
  keeper_.trim(cache_, 11);
  keeper_.trim(cache_, 14);
  EXPECT_NE(cache_.bins[kMiddle].capacity(), 0u);
  keeper_.trim(cache_, 15);
  EXPECT_EQ(cache_.bins[kMiddle].capacity(), 0u);
}

TEST_F(ThreadCacheTest, TrimmingForgetsForeignBinsToo) {
  free(cache_, allocate(other_, kSmall, 3));
  keeper_.trim(cache_, 10);
  keeper_.trim(cache_, 20);
  for (const CacheBin& bin : cache_.bins) EXPECT_EQ(bin.capacity(), 0u);
  keeper_.flush(other_);
  EXPECT_EQ(used(kSmall), 0u);
}

// --- blocks of other shards -----------------------------------------------------------

TEST_F(ThreadCacheTest, LargerBlocksOfOtherShardsAreKept) {
  const std::vector<char*> blocks = allocate(other_, kMiddle, 3);
  free(cache_, blocks);
  EXPECT_EQ(allocate(cache_, kMiddle), blocks[2]);
}

TEST_F(ThreadCacheTest, SmallBlocksOfAnotherGroupAreNeverHandedOut) {
  const std::vector<char*> foreign = allocate(other_, kSmall, 100);
  free(cache_, foreign);
  EXPECT_EQ(cache_.bins[kSmall].size(), 0u);
  const std::vector<char*> own = allocate(cache_, kSmall, 500);
  for (char* block : own) {
    EXPECT_EQ(map_.span_of(block)->shard, 0);
    EXPECT_EQ(std::count(foreign.begin(), foreign.end(), block), 0);
  }
}

TEST_F(ThreadCacheTest, SmallBlocksOfAnotherGroupGoHome) {
  const std::size_t limit = limits_.max_slots[kSmall];
  const std::vector<char*> foreign = allocate(other_, kSmall, 10 * limit);
  keeper_.flush(other_);
  free(cache_, foreign);
  EXPECT_LE(used(kSmall), limit) << "at most one bin's worth waits in the cache";
  keeper_.flush(cache_);
  EXPECT_EQ(used(kSmall), 0u);
  // Their own shard has them again.
  const std::vector<char*> again = allocate(other_, kSmall, 10);
  for (char* block : again) EXPECT_EQ(map_.span_of(block)->shard, 1);
}

// --- exhaustion -----------------------------------------------------------------------

TEST_F(ThreadCacheTest, WithoutMemoryForAnArrayBlocksGoDirectly) {
  std::vector<char*> held = allocate(other_, kMiddle, 1);  // a slab to take from
  FakeOs::fail_call(1, true);
  while (metadata_.allocate(64) != nullptr) {
  }
  char* block = allocate(cache_, kMiddle);
  // It came from shard 0, which had to make a slab: perhaps it could not.
  if (block != nullptr) {
    EXPECT_EQ(cache_.bins[kMiddle].capacity(), 0u);
    free(cache_, block);
    EXPECT_EQ(shards_.bin(0, kMiddle).totals().used_slots, 0u);
  }
  const std::size_t before = used(kMiddle);
  free(cache_, held[0]);
  EXPECT_EQ(cache_.bins[kMiddle].capacity(), 0u);
  EXPECT_EQ(used(kMiddle), before - 1);
}

TEST_F(ThreadCacheTest, AFullBinThatCannotGrowMakesRoom) {
  const std::vector<char*> blocks = allocate(cache_, kMiddle, 100);
  keeper_.flush(cache_);
  for (std::size_t i = 0; i < 8; ++i) free(cache_, blocks[i]);
  ASSERT_EQ(cache_.bins[kMiddle].capacity(), 8u);
  FakeOs::fail_call(1, true);
  while (metadata_.allocate(128) != nullptr || metadata_.allocate(64) != nullptr) {
  }
  for (std::size_t i = 8; i < 100; ++i) {
    free(cache_, blocks[i]);
    EXPECT_EQ(cache_.bins[kMiddle].capacity(), 8u);
  }
  FakeOs::fail_call(0);
  keeper_.flush(cache_);
  EXPECT_EQ(used(kMiddle), 0u);
}

TEST_F(ThreadCacheTest, WhenNothingIsLeftARefillIsNull) {
  FakeOs::fail_call(1, true);
  for (std::uint8_t id = 1; id <= kClassCount; ++id) {
    EXPECT_EQ(allocate(cache_, id), nullptr);
  }
  FakeOs::fail_call(0);
  for (std::uint8_t id = 1; id <= kClassCount; ++id) {
    EXPECT_NE(allocate(cache_, id), nullptr);
  }
}

// --- all of it ------------------------------------------------------------------------

TEST_F(ThreadCacheTest, RandomTrafficBetweenTwoCachesLosesNothing) {
  std::mt19937 random(11);
  std::vector<std::pair<char*, std::uint32_t>> live;  // block, stamp
  std::uint32_t tick = 0;
  for (int step = 0; step < 60'000; ++step) {
    ThreadCache& cache = caches_[random() % 2];
    if (live.size() < 3000 && random() % 2 == 0) {
      const auto id = static_cast<std::uint8_t>(1 + random() % 12);
      char* block = allocate(cache, id);
      const std::uint32_t stamp = random();
      memcpy(block, &stamp, 4);
      memcpy(block + kClasses[id].slot_bytes - 4, &stamp, 4);
      live.emplace_back(block, stamp);
    } else if (!live.empty()) {
      std::swap(live[random() % live.size()], live.back());
      const auto [block, stamp] = live.back();
      live.pop_back();
      const std::uint8_t id = plain_class(map_.class_of(block));
      ASSERT_EQ(memcmp(block, &stamp, 4), 0) << "step " << step;
      ASSERT_EQ(memcmp(block + kClasses[id].slot_bytes - 4, &stamp, 4), 0) << "step " << step;
      free(cache, block);
    }
    if (step % 1000 == 0) keeper_.trim(cache, ++tick * 3);
    if (step % 7000 == 0) keeper_.flush(cache);
  }
  for (const auto& [block, stamp] : live) free(cache_, block);
  keeper_.flush(cache_);
  keeper_.flush(other_);
  for (std::uint8_t id = 1; id <= kClassCount; ++id) EXPECT_EQ(used(id), 0u);
  walk_pool(map_, pool_);
}

}  // namespace
}  // namespace carrel::core
