// slab/slab.h: the bitmap of one slab, for every class.
#include "slab/slab.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "fake_os_test.h"

namespace carrel::core {
namespace {

/// Where the slab would lie; nothing in these functions touches it.
char* const kBase = reinterpret_cast<char*>(std::uintptr_t{0x7000'0000'0000});

class SlabTest : public FakeOsTest, public ::testing::WithParamInterface<int> {
 protected:
  SlabTest() : id_(static_cast<std::uint8_t>(GetParam())), info_(kClasses[id_]) {
    span_.count = info_.granules;
    span_.state = SpanState::kSlab;
    EXPECT_TRUE(make_slab(&span_, id_, 1, metadata_));
  }

  std::uint32_t set_bits() const {
    std::uint32_t count = 0;
    for (std::uint32_t i = 0; i < info_.bit_words; ++i) {
      count += static_cast<std::uint32_t>(std::popcount(span_.free_bits[i]));
    }
    return count;
  }
  /// Takes up to `want` slots; checks where they are written.
  std::vector<char*> take(std::uint32_t want) {
    std::vector<void*> array(want + 2, nullptr);
    const std::uint32_t got = take_slots(&span_, kBase, info_, array.data() + 1 + want, want);
    EXPECT_EQ(array.front(), nullptr) << "wrote below";
    EXPECT_EQ(array.back(), nullptr) << "wrote above";
    std::vector<char*> taken;
    for (std::uint32_t i = 0; i < got; ++i) taken.push_back(static_cast<char*>(array[want - i]));
    return taken;
  }
  /// Gives blocks back in one run.
  void give(const std::vector<char*>& blocks) {
    const std::vector<void*> array(blocks.begin(), blocks.end());
    const auto count = static_cast<std::uint32_t>(blocks.size());
    EXPECT_EQ(give_slots<FakeOs>(&span_, kBase, info_, array.data(), count), count);
  }
  void give(char* block) { give(std::vector<char*>{block}); }

  const std::uint8_t id_;
  const ClassInfo& info_;
  MetadataArena<FakeOs> metadata_;
  Span span_;
};

TEST_P(SlabTest, StartsWithAllSlotsFree) {
  EXPECT_EQ(span_.free_slots, info_.slots);
  EXPECT_EQ(set_bits(), info_.slots);
  EXPECT_EQ(span_.size_class, id_);
  EXPECT_EQ(span_.shard, 1);
  EXPECT_EQ(span_.fullness, kInNoList);
}

TEST_P(SlabTest, HandsOutEachSlotOnceFromTheLowestUp) {
  std::vector<char*> all;
  for (std::uint32_t want = 1; span_.free_slots != 0; want = want * 2 + 1) {
    const std::vector<char*> some = take(want);
    ASSERT_FALSE(some.empty());
    ASSERT_EQ(span_.free_slots, set_bits());
    all.insert(all.end(), some.begin(), some.end());
  }
  ASSERT_EQ(all.size(), info_.slots);
  for (std::size_t i = 0; i < all.size(); ++i) {
    ASSERT_EQ(all[i], kBase + i * info_.slot_bytes);
  }
  EXPECT_TRUE(take(1).empty());
}

TEST_P(SlabTest, WhatComesBackIsHandedOutAgain) {
  std::vector<char*> all = take(info_.slots);
  std::mt19937 random(7);
  std::shuffle(all.begin(), all.end(), random);
  for (std::size_t i = 0; i < all.size(); ++i) {
    give(all[i]);
    ASSERT_EQ(span_.free_slots, i + 1);
    ASSERT_EQ(set_bits(), i + 1);
  }
  const std::vector<char*> again = take(info_.slots);
  EXPECT_EQ(std::set<char*>(again.begin(), again.end()), std::set<char*>(all.begin(), all.end()));
}

TEST_P(SlabTest, ARunOfBlocksComesBackAtOnce) {
  std::vector<char*> all = take(info_.slots);
  std::mt19937 random(8);
  std::shuffle(all.begin(), all.end(), random);
  const std::size_t half = all.size() / 2;
  give(std::vector<char*>(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(half)));
  EXPECT_EQ(span_.free_slots, half);
  EXPECT_EQ(set_bits(), half);
  for (char* block : take(info_.slots)) {
    EXPECT_LT(std::find(all.begin(), all.end(), block) - all.begin(),
              static_cast<std::ptrdiff_t>(half));
  }
}

TEST_P(SlabTest, NeighboursComeBackInEitherDirection) {
  const std::vector<char*> all = take(info_.slots);
  const std::vector<char*> backwards(all.rbegin(), all.rend());
  for (const std::vector<char*>& order : {all, backwards}) {
    // From every slot on, in lengths around those that are marked together.
    for (std::size_t first = 0; first < order.size(); first += 1 + order.size() / 97) {
      for (const std::size_t length : {1, 2, 7, 8, 9, 63, 64, 65, 130}) {
        if (first + length > order.size()) break;
        const auto begin = order.begin() + static_cast<std::ptrdiff_t>(first);
        std::vector<char*> some(begin, begin + static_cast<std::ptrdiff_t>(length));
        give(some);
        ASSERT_EQ(span_.free_slots, length);
        ASSERT_EQ(set_bits(), length);
        std::sort(some.begin(), some.end());
        ASSERT_EQ(take(info_.slots), some);
      }
    }
  }
}

TEST_P(SlabTest, NeighboursInOneBatchWithOthers) {
  const std::vector<char*> all = take(info_.slots);
  std::mt19937 random(9);
  for (int round = 0; round < 200; ++round) {
    std::vector<char*> order = all;
    const auto stretches = 1 + random() % 6;
    for (unsigned i = 0; i < stretches; ++i) {  // turns a stretch around, or mixes it
      const std::size_t from = random() % order.size();
      const std::size_t length = random() % (order.size() - from) + 1;
      const auto begin = order.begin() + static_cast<std::ptrdiff_t>(from);
      const auto end = begin + static_cast<std::ptrdiff_t>(length);
      if (random() % 2 == 0)
        std::reverse(begin, end);
      else if (length < 20)
        std::shuffle(begin, end, random);
    }
    order.resize(random() % order.size() + 1);
    give(order);
    ASSERT_EQ(set_bits(), order.size());
    std::sort(order.begin(), order.end());
    ASSERT_EQ(take(info_.slots), order);
  }
}

TEST_P(SlabTest, ADoubleFreeAmongNeighboursIsNamed) {
  const std::vector<char*> all = take(info_.slots);
  give(all[info_.slots - 2]);
  expect_report("double-free", all[info_.slots - 2], [&] { give(all); });
}

TEST_P(SlabTest, ARunEndsWhereAnotherSlabBegins) {
  const std::vector<char*> all = take(4);
  char* const beyond = kBase + std::size_t{info_.granules} * kGranuleBytes;
  void* const blocks[4] = {all[0], all[1], beyond, all[3]};
  EXPECT_EQ(give_slots<FakeOs>(&span_, kBase, info_, blocks, 4), 2u);
  EXPECT_EQ(span_.free_slots, info_.slots - 2);
  EXPECT_EQ(set_bits(), info_.slots - 2);
}

TEST_P(SlabTest, ADoubleFreeWithinARunIsFound) {
  const std::vector<char*> all = take(info_.slots);
  expect_report("double-free", all[3], [&] { give({all[0], all[3], all[7], all[3]}); });
}

TEST_P(SlabTest, ADoubleFreeIsFoundForEverySlot) {
  const std::vector<char*> all = take(info_.slots);
  give(all);
  for (std::size_t i = 0; i < all.size(); i += all.size() / 8) {
    expect_report("double-free", all[i], [&] { give(all[i]); });
  }
  EXPECT_EQ(span_.free_slots, info_.slots);
}

TEST_P(SlabTest, AnInteriorPointerIsFound) {
  take(info_.slots);
  const std::uint32_t last = info_.slots - 1;
  for (const std::uint32_t slot : {0u, 1u, info_.slots / 2, last}) {
    for (const std::size_t off : {std::size_t{1}, std::size_t{8}, std::size_t{info_.slot_bytes / 2},
                                  std::size_t{info_.slot_bytes - 1}}) {
      char* inside = kBase + std::size_t{slot} * info_.slot_bytes + off;
      expect_report("interior-pointer", inside, [&] { give(inside); });
    }
  }
}

TEST_P(SlabTest, TheRestBehindTheLastSlotIsNoSlot) {
  const std::size_t end = std::size_t{info_.slots} * info_.slot_bytes;
  if (end == info_.granules * kGranuleBytes) return;  // no rest in this class
  char* rest = kBase + end;
  expect_report("interior-pointer", rest, [&] { give(rest); });
}

TEST_P(SlabTest, FullnessFollowsTheFreeSlots) {
  std::uint8_t last = 0;
  for (std::uint32_t free = 1; free <= info_.slots; ++free) {
    const std::uint8_t fullness = fullness_of(free, info_);
    ASSERT_GE(fullness, last) << free;
    ASSERT_LT(fullness, kFullnessLists);
    ASSERT_EQ(fullness == kFullnessLists - 1, free == info_.slots) << free;
    last = fullness;
  }
  EXPECT_EQ(fullness_of(1, info_), 0);
}

TEST_P(SlabTest, IsUndoneWithoutLoss) {
  const std::size_t mapped = metadata_.mapped_bytes();
  for (int i = 0; i < 10'000; ++i) {
    unmake_slab(&span_, metadata_);
    EXPECT_EQ(span_.size_class, 0);
    ASSERT_TRUE(make_slab(&span_, id_, 0, metadata_));
  }
  EXPECT_LE(metadata_.mapped_bytes(), mapped + 128 * kKiB);
  EXPECT_EQ(set_bits(), info_.slots) << "whatever its bits were before";
}

TEST_P(SlabTest, WithoutMetadataItIsNotMade) {
  Span other;
  FakeOs::fail_call(1, true);
  std::vector<void*> records;
  while (void* record = metadata_.allocate(info_.bit_words * sizeof(std::uint64_t))) {
    records.push_back(record);
  }
  const bool needs_metadata = info_.bit_words > Span::kInlineWords;
  EXPECT_EQ(make_slab(&other, id_, 0, metadata_), !needs_metadata);
}

INSTANTIATE_TEST_SUITE_P(
    Classes, SlabTest, ::testing::Range(1, kClassCount + 1), [](const auto& one) {
      return std::to_string(slot_bytes_for(static_cast<std::uint8_t>(one.param))) + "_bytes";
    });

}  // namespace
}  // namespace carrel::core
