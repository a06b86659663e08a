// heap/heap.h, reallocate(): in place where it can be, by the page tables where that
// pays, by copying otherwise; contents and alignment always kept.
#include "test_heap.h"

namespace carrel::core {
namespace {

class ReallocTest : public HeapFixture {
 protected:
  char* resize(char* block, std::size_t size, std::size_t alignment = kSlotAlignment) {
    return static_cast<char*>(heap_->reallocate(block, size, alignment));
  }
  static void fill(char* block, std::size_t size, unsigned salt = 0) {
    for (std::size_t i = 0; i < size; ++i) block[i] = byte_at(i, salt);
  }
  static bool is_filled(const char* block, std::size_t size, unsigned salt = 0) {
    for (std::size_t i = 0; i < size; ++i) {
      if (block[i] != byte_at(i, salt)) return false;
    }
    return true;
  }

 private:
  static char byte_at(std::size_t i, unsigned salt) {
    return static_cast<char>(i * 31 + i / 251 + salt);
  }
};

TEST_F(ReallocTest, NullAllocates) {
  char* block = resize(nullptr, 100);
  ASSERT_NE(block, nullptr);
  EXPECT_GE(heap_->usable_size(block), 100u);
  char* aligned = resize(nullptr, 100, 4096);
  EXPECT_EQ(address_of(aligned) % 4096, 0u);
  heap_->free(block);
  heap_->free(aligned);
  expect_clean();
}

TEST_F(ReallocTest, ContentsSurviveEveryChangeOfSize) {
  const std::size_t sizes[] = {1,         16,        17,         100,      1000,    4097,
                               32'768,    32'769,    65'536,     65'537,   200'000, 300'000,
                               2'000'000, 3'000'000, 10'000'000, 5'000'000};
  for (const std::size_t from : sizes) {
    for (const std::size_t to : sizes) {
      char* block = allocate(from);
      fill(block, from);
      block = resize(block, to);
      ASSERT_NE(block, nullptr) << from << " to " << to;
      ASSERT_TRUE(is_filled(block, from < to ? from : to)) << from << " to " << to;
      ASSERT_GE(heap_->usable_size(block), to);
      memset(block, 1, to);
      heap_->free(block);
    }
  }
  expect_clean();
}

TEST_F(ReallocTest, WithinItsSlotABlockStays) {
  char* block = allocate(100);  // a slot of 112
  for (std::size_t size = 57; size <= 112; ++size) EXPECT_EQ(resize(block, size), block) << size;
}

TEST_F(ReallocTest, ABlockThatShrinksALotMovesToASmallerSlot) {
  char* block = allocate(1024);
  fill(block, 1024);
  char* small = resize(block, 100);
  EXPECT_NE(small, block);
  EXPECT_TRUE(is_filled(small, 100));
  EXPECT_LE(heap_->usable_size(small), 128u);
}

TEST_F(ReallocTest, LargeBlocksShrinkInPlaceAndGiveTheRestBack) {
  char* block = allocate(10 * kMiB);
  fill(block, 10 * kMiB);
  EXPECT_EQ(resize(block, 3 * kMiB), block);
  EXPECT_TRUE(is_filled(block, 3 * kMiB));
  EXPECT_EQ(heap_->usable_size(block), 3 * kMiB);
  EXPECT_EQ(stats_of(*heap_).large_bytes, 3 * kMiB);
  char* other = allocate(7 * kMiB);
  EXPECT_EQ(other, block + 3 * kMiB) << "the rest serves others";
  heap_->free(block);
  heap_->free(other);
  expect_clean();
}

TEST_F(ReallocTest, LargeBlocksGrowInPlaceWhereMemoryFollows) {
  char* block = allocate(kMiB);
  fill(block, kMiB);
  for (std::size_t size = kMiB; size < 200 * kMiB; size += size / 3 + 1) {
    char* grown = resize(block, size);
    ASSERT_EQ(grown, block) << "at " << size << " although nothing follows it";
  }
  EXPECT_TRUE(is_filled(block, kMiB));
  EXPECT_EQ(FakeOs::calls(OsCall::kMovePages), 0u);
  heap_->free(block);
  expect_clean();
}

TEST_F(ReallocTest, SmallStepsWithinAPageCostNothing) {
  char* block = allocate(100'000);
  const std::uint64_t calls = FakeOs::fallible_calls();
  for (std::size_t size = 100'000; size < 102'000; size += 7) ASSERT_EQ(resize(block, size), block);
  EXPECT_EQ(FakeOs::fallible_calls(), calls);
}

TEST_F(ReallocTest, WhereItCannotGrowALargeBlockIsMovedByThePage) {
  char* block = allocate(2 * kMiB);
  char* neighbour = allocate(kMiB);
  ASSERT_EQ(neighbour, block + 2 * kMiB);
  fill(block, 2 * kMiB);
  char* moved = resize(block, 5 * kMiB);
  ASSERT_NE(moved, nullptr);
  EXPECT_NE(moved, block);
  EXPECT_EQ(FakeOs::calls(OsCall::kMovePages), 1u);
  EXPECT_EQ(FakeOs::range_of(OsCall::kMovePages, 0).start, address_of(block));
  EXPECT_EQ(FakeOs::range_of(OsCall::kMovePages, 0).bytes, 2 * kMiB);
  EXPECT_TRUE(is_filled(moved, 2 * kMiB));
  heap_->free(moved);
  EXPECT_EQ(FakeOs::calls(OsCall::kFreshPages), 1u) << "what moved is replaced when freed";
  heap_->free(neighbour);
  expect_clean();
}

TEST_F(ReallocTest, WherePagesCannotMoveItCopies) {
  FakeOs::settings.refuse_move_pages = true;
  char* block = allocate(2 * kMiB);
  char* neighbour = allocate(kMiB);
  fill(block, 2 * kMiB);
  char* copy = resize(block, 5 * kMiB);
  ASSERT_NE(copy, nullptr);
  EXPECT_TRUE(is_filled(copy, 2 * kMiB));
  heap_->free(copy);
  heap_->free(neighbour);
  EXPECT_EQ(FakeOs::calls(OsCall::kFreshPages), 0u);
  expect_clean();
}

TEST_F(ReallocTest, ABlockMayMoveAgainAndAgain) {
  char* block = allocate(kMiB);
  fill(block, kMiB);
  std::vector<char*> neighbours;
  for (std::size_t size = 2 * kMiB; size <= 64 * kMiB; size *= 2) {
    neighbours.push_back(allocate(100'000));
    neighbours.push_back(allocate(10 * kMiB));
    block = resize(block, size);
    ASSERT_NE(block, nullptr);
    ASSERT_TRUE(is_filled(block, kMiB)) << size;
    block[size - 1] = 'e';
  }
  EXPECT_GE(FakeOs::calls(OsCall::kMovePages), 2u);
  heap_->free(block);
  free_all(neighbours);
  expect_clean();
}

// Two blocks that grow in turn stand in each other's way.
TEST_F(ReallocTest, BlocksThatGrowInTurnKeepTheirContents) {
  char* blocks[3] = {};
  std::size_t sizes[3] = {};
  for (int round = 0; round < 60; ++round) {
    const int i = round % 3;
    const std::size_t size = sizes[i] + 150'000 + static_cast<std::size_t>(round) * 3000;
    blocks[i] = resize(blocks[i], size);
    ASSERT_NE(blocks[i], nullptr);
    ASSERT_TRUE(is_filled(blocks[i], sizes[i], static_cast<unsigned>(i))) << round;
    sizes[i] = size;
    fill(blocks[i], size, static_cast<unsigned>(i));
  }
  for (char* block : blocks) heap_->free(block);
  expect_clean();
}

TEST_F(ReallocTest, MovedMemoryIsNotTakenForZero) {
  // What a moved block leaves behind, and what takes its place, must be zero for calloc.
  for (const bool refuse : {false, true}) {
    renew();
    FakeOs::settings.refuse_fresh_pages = refuse;
    char* block = allocate(2 * kMiB);
    char* neighbour = allocate(kMiB);
    fill(block, 2 * kMiB, 1);
    block = resize(block, 4 * kMiB);
    fill(block, 4 * kMiB, 2);
    heap_->free(block);
    heap_->free(neighbour);
    for (int i = 0; i < 5; ++i) {
      auto* zeroed = static_cast<char*>(heap_->zero_allocate(2 * kMiB));
      ASSERT_TRUE(zeroed[0] == 0 && memcmp(zeroed, zeroed + 1, 2 * kMiB - 1) == 0) << i;
    }
  }
}

TEST_F(ReallocTest, AlignmentIsKept) {
  for (std::size_t alignment = 16; alignment <= 4 * kMiB; alignment *= 4) {
    auto* block = static_cast<char*>(heap_->aligned_allocate(alignment, 100));
    fill(block, 100);
    for (const std::size_t size : {50u, 5000u, 50'000u, 500'000u, 3'000'000u, 40'000u, 200u, 1u}) {
      block = resize(block, size, alignment);
      ASSERT_NE(block, nullptr);
      ASSERT_EQ(address_of(block) % alignment, 0u) << alignment << ", " << size;
      ASSERT_TRUE(is_filled(block, size < 50 ? size : 50));
      fill(block, size < 100 ? size : 100);
    }
    heap_->free(block);
  }
  expect_clean();
}

TEST_F(ReallocTest, FailureLeavesTheBlockAsItWas) {
  for (const std::size_t size : {100u, 30'000u, 100'000u, 3'000'000u}) {
    renew();
    char* block = allocate(size);
    fill(block, size);
    char* neighbour = allocate(size);
    EXPECT_EQ(resize(block, SIZE_MAX), nullptr);
    EXPECT_EQ(resize(block, SIZE_MAX / 2), nullptr);
    EXPECT_EQ(resize(block, std::size_t{1} << 45), nullptr);
    FakeOs::fail_call(1, true);
    EXPECT_EQ(resize(block, 300 * kMiB), nullptr);
    FakeOs::fail_call(0);
    EXPECT_TRUE(is_filled(block, size));
    EXPECT_GE(heap_->usable_size(block), size);
    heap_->free(block);
    heap_->free(neighbour);
    expect_clean();
  }
}

TEST_F(ReallocTest, ShrinkingNeverFails) {
  for (const std::size_t to : {1u, 40'000u, 1'000'000u}) {
    renew();
    char* block = allocate(3'000'000);
    fill(block, 3'000'000);
    char* neighbour = allocate(3'000'000);
    FakeOs::fail_call(1, true);
    while (heap_->metadata().allocate(64) != nullptr) {
    }
    char* smaller = resize(block, to);
    ASSERT_NE(smaller, nullptr) << to;
    EXPECT_TRUE(is_filled(smaller, to));
    FakeOs::fail_call(0);
    heap_->free(smaller);
    heap_->free(neighbour);
    expect_clean();
  }
}

TEST_F(ReallocTest, RefusedMovesLeaveNothingBehind) {
  // Every call on the way refused in turn.
  for (std::uint64_t nth = 1; nth < 10; ++nth) {
    renew();
    char* block = allocate(2 * kMiB);
    fill(block, 2 * kMiB);
    char* neighbour = allocate(kMiB);
    FakeOs::fail_call(nth);
    char* grown = resize(block, 40 * kMiB);
    FakeOs::fail_call(0);
    char* result = grown != nullptr ? grown : block;
    EXPECT_TRUE(is_filled(result, 2 * kMiB)) << nth;
    heap_->free(result);
    heap_->free(neighbour);
    expect_clean();
  }
}

}  // namespace
}  // namespace carrel::core
