// slab/shards.h: blocks go home to the shard they came from, however they are mixed.
#include <algorithm>
#include <random>

#include "slab_fixture.h"

namespace carrel::core {
namespace {

class ShardsTest : public SlabFixture {};

constexpr std::uint8_t kId = size_class_for(512);

TEST_F(ShardsTest, ABlockComesFromTheShardAsked) {
  initialize(3);
  EXPECT_EQ(shards_.count(), 3u);
  for (std::uint32_t shard = 0; shard < 3; ++shard) {
    for (std::uint8_t id = 1; id <= kClassCount; ++id) {
      const std::vector<char*> blocks = take(shard, id, 1);
      EXPECT_EQ(slab_of(blocks[0])->shard, shard);
      EXPECT_EQ(slab_of(blocks[0])->size_class, id);
      EXPECT_EQ(map_.class_of(blocks[0]), class_map_value(id, shard));
    }
  }
}

TEST_F(ShardsTest, ShardsShareNoSlab) {
  initialize(2);
  const std::vector<char*> a = take(0, kId, 10);
  const std::vector<char*> b = take(1, kId, 10);
  EXPECT_NE(slab_of(a[0]), slab_of(b[0]));
}

TEST_F(ShardsTest, AMixedBatchGoesHome) {
  initialize(4);
  std::vector<char*> all;
  for (std::uint32_t shard = 0; shard < 4; ++shard) {
    const std::vector<char*> some = take(shard, kId, 50 + shard);
    all.insert(all.end(), some.begin(), some.end());
  }
  std::mt19937 random(5);
  for (int round = 0; round < 20; ++round) {
    std::shuffle(all.begin(), all.end(), random);
    give(kId, all);
    std::size_t total = 0;
    for (std::uint32_t shard = 0; shard < 4; ++shard) {
      EXPECT_EQ(shards_.bin(shard, kId).totals().used_slots, 0u);
      const std::vector<char*> some = take(shard, kId, 50 + shard);
      for (std::size_t i = 0; i < some.size(); ++i) {
        EXPECT_EQ(slab_of(some[i])->shard, shard);
        all[total++] = some[i];
      }
    }
    ASSERT_EQ(total, all.size());
  }
}

TEST_F(ShardsTest, AThreadsWholeCacheIsOneBatch) {
  initialize(2);
  std::vector<char*> blocks = take(0, size_class_for(16), 128);
  const std::vector<char*> others = take(1, size_class_for(16), 128);
  blocks.insert(blocks.end(), others.begin(), others.end());
  ASSERT_EQ(blocks.size(), 256u);
  give(size_class_for(16), blocks);
  EXPECT_EQ(shards_.bin(0, size_class_for(16)).totals().used_slots, 0u);
  EXPECT_EQ(shards_.bin(1, size_class_for(16)).totals().used_slots, 0u);
}

TEST_F(ShardsTest, ABlockOfAnotherClassIsReported) {
  initialize(2);
  const std::vector<char*> blocks = take(0, kId, 2);
  expect_report("double-free", blocks[0],
                [&] { give(static_cast<std::uint8_t>(kId + 1), {blocks[0]}); });
}

TEST_F(ShardsTest, ADoubleFreeInAMixedBatchIsReported) {
  initialize(2);
  const std::vector<char*> a = take(0, kId, 3);
  const std::vector<char*> b = take(1, kId, 3);
  expect_report("double-free", b[1], [&] { give(kId, {a[0], b[1], a[1], b[0], b[1]}); });
}

TEST_F(ShardsTest, VisitsEveryBinInTheOrderOfTheirLocks) {
  initialize(3);
  std::vector<std::pair<SlabBin<FakeOs>*, int>> seen;
  shards_.for_each_bin([&](SlabBin<FakeOs>& bin, std::uint8_t id) { seen.emplace_back(&bin, id); });
  ASSERT_EQ(seen.size(), 3u * kClassCount);
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const auto shard = static_cast<std::uint32_t>(i / kClassCount);
    const auto id = static_cast<std::uint8_t>(i % kClassCount + 1);
    EXPECT_EQ(seen[i].first, &shards_.bin(shard, id));
    EXPECT_EQ(seen[i].second, id);
  }
}

TEST_F(ShardsTest, MakesDoWithFewerWhereMemoryIsShort) {
  ASSERT_TRUE(map_.initialize(64 * kGiB));
  FakeOs::settings.commit_budget_bytes = FakeOs::usable_bytes() + 64 * kKiB;
  ASSERT_TRUE(shards_.initialize(64));
  EXPECT_GE(shards_.count(), 1u);
  EXPECT_LT(shards_.count(), 64u);
}

TEST_F(ShardsTest, WithoutMemoryForOneItSaysSo) {
  ASSERT_TRUE(map_.initialize(64 * kGiB));
  FakeOs::fail_call(1, true);
  EXPECT_FALSE(shards_.initialize(2));
  FakeOs::fail_call(0);
  EXPECT_TRUE(shards_.initialize(2));
}

}  // namespace
}  // namespace carrel::core
