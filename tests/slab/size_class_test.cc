// slab/size_class.h, exhaustively: every size has a class, every offset its slot.
#include "slab/size_class.h"

#include <gtest/gtest.h>

#include <bit>
#include <set>

namespace carrel::core {
namespace {

TEST(SizeClass, EverySizeFitsAndGrowsMonotonously) {
  std::uint8_t last = 1;
  for (std::size_t bytes = 1; bytes <= kMaxSlotBytes; ++bytes) {
    const std::uint8_t id = size_class_for(bytes);
    ASSERT_GE(id, last) << bytes;
    ASSERT_LE(id, last + 1) << bytes << " skips a class";
    ASSERT_GE(slot_bytes_for(id), bytes);
    ASSERT_TRUE(id == 1 || slot_bytes_for(static_cast<std::uint8_t>(id - 1)) < bytes)
        << bytes << " would fit the class below";
    last = id;
  }
  EXPECT_EQ(last, kClassCount);
}

TEST(SizeClass, RoundingWastesAtMostAFifth) {
  for (std::size_t bytes = 1; bytes <= kMaxSlotBytes; ++bytes) {
    const std::size_t waste = slot_bytes_for(size_class_for(bytes)) - bytes;
    if (bytes <= 128) {
      ASSERT_LT(waste, 16u) << bytes;
    } else {
      ASSERT_LE(waste * 5, slot_bytes_for(size_class_for(bytes))) << bytes;
    }
  }
}

TEST(SizeClass, SlotsKeepTheAlignmentOfEveryBlock) {
  for (std::uint8_t id = 1; id <= kClassCount; ++id) {
    EXPECT_EQ(slot_bytes_for(id) % kSlotAlignment, 0u) << int{id};
    EXPECT_EQ(size_class_for(slot_bytes_for(id)), id);
  }
}

// aligned_allocate() relies on it: for each power of two there is a class of that size.
TEST(SizeClass, EveryPowerOfTwoIsAClass) {
  for (std::size_t size = 16; size <= kMaxSlotBytes; size *= 2) {
    EXPECT_EQ(slot_bytes_for(size_class_for(size)), size);
  }
}

TEST(ClassTable, AgreesWithTheFunctions) {
  for (std::uint8_t id = 1; id <= kClassCount; ++id) {
    const ClassInfo& info = kClasses[id];
    EXPECT_EQ(info.slot_bytes, slot_bytes_for(id));
    EXPECT_EQ(info.slots, info.granules * kGranuleBytes / info.slot_bytes);
    EXPECT_GE(info.slots, 8u) << "a slab serves at least eight blocks";
    EXPECT_GE(info.bit_words * 64, info.slots);
    EXPECT_LT((info.bit_words - 1) * 64, info.slots);
    EXPECT_TRUE(std::has_single_bit(info.granules));
    EXPECT_TRUE(info.granules == 1 || info.granules / 2 * kGranuleBytes / info.slot_bytes < 8)
        << "no larger than it must be";
  }
}

TEST(ClassTable, SlabsWasteLittleAtTheirEnds) {
  for (std::uint8_t id = 1; id <= kClassCount; ++id) {
    const ClassInfo& info = kClasses[id];
    const std::size_t rest = info.granules * kGranuleBytes - info.slots * info.slot_bytes;
    EXPECT_LT(rest, info.slot_bytes);
    EXPECT_LE(rest * 8, info.granules * kGranuleBytes) << int{id};
  }
}

TEST(SlotIndex, IsExactForEveryOffsetOfEverySlab) {
  for (std::uint8_t id = 1; id <= kClassCount; ++id) {
    const ClassInfo& info = kClasses[id];
    const std::size_t slab = info.granules * kGranuleBytes;
    for (std::size_t offset = 0; offset < slab; ++offset) {
      ASSERT_EQ(slot_index(info, offset), offset / info.slot_bytes)
          << "class " << int{id} << ", offset " << offset;
    }
  }
}

TEST(SlotIndex, AnExactOneIsNoSlotOfAnyOtherOffset) {
  for (std::uint8_t id = 1; id <= kClassCount; ++id) {
    const ClassInfo& info = kClasses[id];
    const std::size_t end = std::size_t{info.granules} * kGranuleBytes;
    for (std::size_t offset = 0; offset < end + 200; ++offset) {
      const std::size_t slot = exact_slot(info, offset);
      if (offset % info.slot_bytes == 0 && offset / info.slot_bytes < info.slots) {
        ASSERT_EQ(slot, offset / info.slot_bytes) << offset << " of " << info.slot_bytes;
      } else {
        ASSERT_GE(slot, info.slots) << offset << " of " << info.slot_bytes;
      }
    }
    for (std::size_t before = 1; before < end; ++before) {
      ASSERT_GE(exact_slot(info, -before), info.slots) << "in front of the slab";
    }
    for (unsigned bit = 21; bit < 64; ++bit) {
      ASSERT_GE(exact_slot(info, std::size_t{1} << bit), info.slots) << "far behind it";
    }
  }
}

TEST(SizeClass, TheClassOfAMultipleOfAnAlignmentKeepsIt) {
  for (std::size_t alignment = 16; alignment <= kMaxSlotBytes; alignment *= 2) {
    for (std::size_t bytes = alignment; bytes <= kMaxSlotBytes; bytes += alignment) {
      ASSERT_EQ(slot_bytes_for(size_class_for(bytes)) % alignment, 0u) << bytes << ' ' << alignment;
    }
  }
}

TEST(ClassMapValues, NameTheClassAndItsGroup) {
  std::set<int> values;
  for (std::uint8_t id = 1; id <= kClassCount; ++id) {
    for (std::uint32_t shard = 0; shard < 4; ++shard) {
      const std::uint8_t value = class_map_value(id, shard);
      EXPECT_EQ(plain_class(value), id);
      EXPECT_EQ((value & kGroupBits) != 0, kClasses[id].slot_bytes < kCacheLineBytes);
      EXPECT_EQ(value, class_map_value(id, shard + 2)) << "there are two groups";
      values.insert(value);
    }
  }
  EXPECT_EQ(values.count(kNotOurs), 0u);
  EXPECT_EQ(values.count(kLargeBlock), 0u);
  EXPECT_EQ(values.size(), kClassCount + (kFirstUngroupedClass - 1u));
}

TEST(ClassMapValues, AThreadClearsItsOwnGroupOnly) {
  for (std::uint8_t id = 1; id < kFirstUngroupedClass; ++id) {
    const unsigned own_mask = 0xFFu & ~group_bit(0);
    EXPECT_EQ(class_map_value(id, 0) & own_mask, id);
    EXPECT_NE(class_map_value(id, 1) & own_mask, id);
    EXPECT_EQ(class_map_value(id, 1) & own_mask, class_map_value(id, 1));
  }
}

}  // namespace
}  // namespace carrel::core
