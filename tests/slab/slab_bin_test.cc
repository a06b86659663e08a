// slab/slab_bin.h: where batches come from and what becomes of slabs that empty.
#include <algorithm>
#include <random>
#include <set>
#include <thread>

#include "slab_fixture.h"

namespace carrel::core {
namespace {

class SlabBinTest : public SlabFixture {
 protected:
  SlabBinTest() { initialize(); }
  static constexpr std::uint8_t kId = size_class_for(1024);  // 64 slots in one granule
  static constexpr std::uint32_t kSlots = kClasses[kId].slots;

  BinTotals totals(std::uint32_t shard = 0) { return shards_.bin(shard, kId).totals(); }
};

TEST_F(SlabBinTest, StartsWithNothing) {
  EXPECT_EQ(totals().slabs, 0u);
  EXPECT_EQ(totals().used_slots, 0u);
  EXPECT_EQ(pool_.totals().added, 0u);
}

TEST_F(SlabBinTest, ABatchComesFromTheLowestAddressesOfAFreshSlab) {
  const std::vector<char*> blocks = take(0, kId, 10);
  ASSERT_EQ(blocks.size(), 10u);
  for (std::size_t i = 1; i < blocks.size(); ++i) EXPECT_EQ(blocks[i], blocks[i - 1] + 1024);
  const Span* slab = slab_of(blocks[0]);
  EXPECT_EQ(blocks[0], map_.address(slab->first));
  EXPECT_EQ(slab->state, SpanState::kSlab);
  EXPECT_EQ(map_.class_of(blocks[0]), class_map_value(kId, 0));
  EXPECT_EQ(totals().slabs, 1u);
  EXPECT_EQ(totals().used_slots, 10u);
}

TEST_F(SlabBinTest, TakingAndGivingTouchesNoBlock) {
  const std::vector<char*> blocks = take(0, kId, 40);
  give(kId, blocks);
  take(0, kId, 40);
  EXPECT_EQ(FakeOs::resident_bytes(map_.address(slab_of(blocks[0])->first), kGranuleBytes), 0u);
}

TEST_F(SlabBinTest, AGrowingBinsFurtherSlabsAreMadeResidentAtOnce) {
  const auto calls = [] { return FakeOs::calls(OsCall::kPopulate); };
  const std::vector<char*> blocks = take(0, kId, 8 * kSlots);
  EXPECT_EQ(calls(), 0u);
  char* next = take(0, kId, 1)[0];
  EXPECT_EQ(calls(), 1u);
  EXPECT_EQ(FakeOs::resident_bytes(next, kGranuleBytes), kGranuleBytes);
  take(0, kId, kSlots - 1);
  context_.pool.set_memory_short(true);
  take(0, kId, kSlots);
  EXPECT_EQ(calls(), 1u) << "not when memory is short";
  context_.pool.set_memory_short(false);
  take(1, kId, kSlots);
  EXPECT_EQ(calls(), 1u) << "nor where there are few";
  take(0, kId, 1);
  EXPECT_EQ(calls(), 2u);
}

TEST_F(SlabBinTest, WhatWasTouchedBeforeOrIsLargeIsNotMadeResident) {
  const std::vector<char*> blocks = take(0, kId, 20 * kSlots);
  const std::size_t calls = FakeOs::calls(OsCall::kPopulate);
  give(kId, blocks);  // all slabs but one go back to the pool, which thinks that they were written
  take(0, kId, 20 * kSlots);
  EXPECT_EQ(FakeOs::calls(OsCall::kPopulate), calls);
  constexpr std::uint8_t kLarger = size_class_for(2048);
  take(0, kLarger, 20 * kClasses[kLarger].slots);
  EXPECT_EQ(FakeOs::calls(OsCall::kPopulate), calls);
}

TEST_F(SlabBinTest, ABatchMayBeShortButNeverEmpty) {
  take(0, kId, kSlots - 3);
  void* array[64];
  EXPECT_EQ(shards_.take(0, kId, array + 64, 64), 3u) << "what one slab has, without a new one";
  EXPECT_EQ(shards_.take(0, kId, array + 64, 64), 64u);
}

TEST_F(SlabBinTest, EveryClassServesItsSize) {
  for (std::uint8_t id = 1; id <= kClassCount; ++id) {
    const std::vector<char*> blocks = take(0, id, kClasses[id].slots + 5);
    ASSERT_EQ(blocks.size(), kClasses[id].slots + 5);
    std::set<char*> sorted(blocks.begin(), blocks.end());
    ASSERT_EQ(sorted.size(), blocks.size());
    char* last = nullptr;
    for (char* block : sorted) {
      if (last != nullptr) {
        EXPECT_GE(block, last + kClasses[id].slot_bytes);
      }
      EXPECT_EQ(plain_class(map_.class_of(block)), id);
      EXPECT_EQ(plain_class(map_.class_of(block + kClasses[id].slot_bytes - 1)), id);
      last = block;
    }
    memset(blocks.back(), 1, kClasses[id].slot_bytes);
    give(id, blocks);
    EXPECT_EQ(shards_.bin(0, id).totals().used_slots, 0u);
  }
  walk_pool(map_, pool_);
}

TEST_F(SlabBinTest, TheFullestSlabWithRoomServesFirst) {
  // Three slabs, of which the first gets most room and the second least.
  std::vector<char*> blocks = take(0, kId, 3 * kSlots);
  const auto slab = [&](int i) { return slab_of(blocks[static_cast<std::size_t>(i) * kSlots]); };
  std::vector<char*> back;
  const std::uint32_t freed[3] = {50, 2, 25};
  for (std::uint32_t i = 0; i < 3; ++i) {
    for (std::uint32_t j = 0; j < freed[i]; ++j) back.push_back(blocks[i * kSlots + j]);
  }
  const Span* emptiest = slab(0);
  const Span* fullest = slab(1);
  const Span* middle = slab(2);
  give(kId, back);
  EXPECT_EQ(slab_of(take(0, kId, 1)[0]), fullest);
  EXPECT_EQ(slab_of(take(0, kId, 1)[0]), fullest);
  for (int i = 0; i < 25; ++i) EXPECT_EQ(slab_of(take(0, kId, 1)[0]), middle);
  EXPECT_EQ(slab_of(take(0, kId, 1)[0]), emptiest);
}

TEST_F(SlabBinTest, OneEmptySlabIsKeptForTheNextBatch) {
  const std::vector<char*> blocks = take(0, kId, 3 * kSlots);
  EXPECT_EQ(totals().slabs, 3u);
  give(kId, blocks);
  EXPECT_EQ(totals().slabs, 1u);
  EXPECT_EQ(totals().used_slots, 0u);
  EXPECT_EQ(pool_.totals().free, pool_.totals().added - 1);
  const std::size_t added = pool_.totals().added;
  take(0, kId, kSlots);
  EXPECT_EQ(pool_.totals().added, added);
  walk_pool(map_, pool_);
}

TEST_F(SlabBinTest, AnEmptySlabServesAnyClassAgain) {
  const std::vector<char*> blocks = take(0, kId, 30 * kSlots);
  give(kId, blocks);
  const std::size_t added = pool_.totals().added;
  take(0, size_class_for(64), 29 * kClasses[size_class_for(64)].slots);
  EXPECT_EQ(pool_.totals().added, added);
}

TEST_F(SlabBinTest, ReleasedSlabsLoseTheirClass) {
  const std::vector<char*> blocks = take(0, kId, 2 * kSlots);
  give(kId, blocks);
  int without_class = 0;
  for (const char* block : blocks) without_class += map_.class_of(block) == kNotOurs ? 1 : 0;
  EXPECT_EQ(without_class, static_cast<int>(kSlots));
}

TEST_F(SlabBinTest, EmptySlabsAreReleasedOnDemand) {
  give(kId, take(0, kId, 10));
  EXPECT_EQ(totals().slabs, 1u);
  shards_.bin(0, kId).release_empty(context_);
  EXPECT_EQ(totals().slabs, 0u);
  EXPECT_EQ(pool_.totals().free, pool_.totals().added);
  const std::vector<char*> blocks = take(0, kId, 1);
  shards_.bin(0, kId).release_empty(context_);
  EXPECT_EQ(totals().slabs, 1u) << "it is in use";
  EXPECT_EQ(slab_of(blocks[0])->state, SpanState::kSlab);
}

TEST_F(SlabBinTest, BlocksOfManySlabsComeBackInAnyOrder) {
  std::vector<char*> blocks = take(0, kId, 20 * kSlots);
  std::mt19937 random(3);
  std::shuffle(blocks.begin(), blocks.end(), random);
  const std::vector<char*> first(blocks.begin(), blocks.begin() + 600);
  give(kId, first);
  EXPECT_EQ(totals().used_slots, 20 * kSlots - 600);
  const std::vector<char*> again = take(0, kId, 600);
  std::set<char*> all(blocks.begin() + 600, blocks.end());
  for (char* block : again) EXPECT_TRUE(all.insert(block).second) << "handed out twice";
  EXPECT_EQ(all.size(), 20 * kSlots);
}

// --- misuse ---------------------------------------------------------------------------

TEST_F(SlabBinTest, ABlockGivenTwiceIsReported) {
  const std::vector<char*> blocks = take(0, kId, 5);
  give(kId, {blocks[2]});
  expect_report("double-free", blocks[2], [&] { give(kId, {blocks[2]}); });
}

TEST_F(SlabBinTest, ABlockTwiceInABatchIsReported) {
  const std::vector<char*> blocks = take(0, kId, 5);
  expect_report("double-free", blocks[1], [&] {
    give(kId, {blocks[0], blocks[1], blocks[3], blocks[1]});
  });
}

TEST_F(SlabBinTest, ABlockOfAReleasedSlabIsReported) {
  const std::vector<char*> blocks = take(0, kId, 2 * kSlots);
  give(kId, blocks);
  shards_.bin(0, kId).release_empty(context_);
  for (const std::size_t i : {std::size_t{0}, std::size_t{kSlots}, std::size_t{2 * kSlots - 1}}) {
    expect_report("double-free", blocks[i], [&] { give(kId, {blocks[i]}); });
  }
}

TEST_F(SlabBinTest, ABlockWhosePlaceServesAnotherClassIsReported) {
  const std::vector<char*> blocks = take(0, kId, 3);
  give(kId, blocks);
  shards_.bin(0, kId).release_empty(context_);
  const std::vector<char*> others = take(0, size_class_for(2048), 3);
  ASSERT_EQ(slab_of(others[0])->first, slab_of(blocks[0])->first);
  expect_report("double-free", blocks[0], [&] { give(kId, {blocks[0]}); });
}

TEST_F(SlabBinTest, AnInteriorPointerIsReported) {
  const std::vector<char*> blocks = take(0, kId, 3);
  expect_report("interior-pointer", blocks[1] + 16, [&] { give(kId, {blocks[1] + 16}); });
}

// --- exhaustion -----------------------------------------------------------------------

TEST_F(SlabBinTest, ExhaustionIsZeroAndLeavesNothingBehind) {
  for (const std::uint8_t id : {size_class_for(16), kId, size_class_for(32 * kKiB)}) {
    for (std::uint64_t nth = 1; nth < 50; ++nth) {
      FakeOs::fail_call(nth, true);
      void* array[8];
      std::uint32_t got = 1;
      std::vector<char*> taken;
      for (int i = 0; i < 400 && got != 0; ++i) {
        got = shards_.take(0, id, array + 8, 8);
        for (std::uint32_t j = 0; j < got; ++j) taken.push_back(static_cast<char*>(array[7 - j]));
      }
      FakeOs::fail_call(0);
      walk_pool(map_, pool_);
      give(id, taken);
      EXPECT_EQ(shards_.bin(0, id).totals().used_slots, 0u);
      shards_.bin(0, id).release_empty(context_);
      EXPECT_EQ(shards_.bin(0, id).totals().slabs, 0u);
      EXPECT_EQ(pool_.totals().free, pool_.totals().added);
      if (HasFailure()) return;
    }
  }
}

TEST_F(SlabBinTest, ASlabThatFindsNoBitmapIsGivenBack) {
  constexpr std::uint8_t kTiny = size_class_for(16);
  ASSERT_GT(kClasses[kTiny].bit_words, Span::kInlineWords);
  take(0, kId, 1);  // some memory, of which the rest is free
  void* description = metadata_.allocate(sizeof(Span));
  FakeOs::fail_call(1, true);
  while (metadata_.allocate(64) != nullptr) {
  }
  metadata_.release(description, sizeof(Span));
  void* array[8];
  EXPECT_EQ(shards_.take(0, kTiny, array + 8, 8), 0u);
  EXPECT_EQ(pool_.totals().free, pool_.totals().added - 1);
  EXPECT_EQ(shards_.bin(0, kTiny).totals().slabs, 0u);
  walk_pool(map_, pool_);
  FakeOs::fail_call(0);
  EXPECT_EQ(shards_.take(0, kTiny, array + 8, 8), 8u);
}

// --- threads --------------------------------------------------------------------------

TEST_F(SlabBinTest, ThreadsExchangeBlocksThroughABin) {
  constexpr int kThreads = 4;
  std::atomic<int> errors{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      std::vector<char*> mine;
      for (int i = 0; i < 2000; ++i) {
        const auto shard = static_cast<std::uint32_t>(t % 2);
        if (mine.size() < 300 && random() % 2 == 0) {
          for (char* block : take(shard, kId, 1 + random() % 40)) {
            memset(block, t + 1, 16);
            mine.push_back(block);
          }
        } else if (!mine.empty()) {
          const std::size_t count = std::min<std::size_t>(mine.size(), 1 + random() % 40);
          std::vector<char*> batch(mine.end() - static_cast<std::ptrdiff_t>(count), mine.end());
          mine.resize(mine.size() - count);
          for (const char* block : batch) errors += block[0] != t + 1 || block[15] != t + 1;
          give(kId, batch);
        }
      }
      give(kId, mine);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors.load(), 0);
  EXPECT_EQ(totals(0).used_slots, 0u);
  EXPECT_EQ(totals(1).used_slots, 0u);
  walk_pool(map_, pool_);
}

}  // namespace
}  // namespace carrel::core
