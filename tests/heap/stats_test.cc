// heap/stats.h: the numbers add up, at every moment of a program without rivals.
#include "test_heap.h"

namespace carrel::core {
namespace {

class StatsTest : public HeapFixture {};

TEST_F(StatsTest, AnUnusedHeapIsAllZero) {
  const HeapStats stats = stats_of(*heap_);
  EXPECT_EQ(stats.live_blocks + stats.live_bytes + stats.heap_bytes + stats.metadata_bytes +
                stats.threads + stats.large_blocks,
            0u);
}

TEST_F(StatsTest, LiveBlocksAreCountedWhateverIsCached) {
  std::vector<char*> blocks;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < 2000; ++i) {
    blocks.push_back(allocate(i * 37 % 5000));
    bytes += heap_->usable_size(blocks.back());
    const HeapStats stats = stats_of(*heap_);
    ASSERT_EQ(stats.live_blocks, blocks.size());
    ASSERT_EQ(stats.live_bytes, bytes);
    if (i % 3 == 0) {
      bytes -= heap_->usable_size(blocks.back());
      heap_->free(blocks.back());
      blocks.pop_back();
    }
  }
  EXPECT_GT(stats_of(*heap_).cached_bytes, 0u);
  free_all(blocks);
  EXPECT_EQ(stats_of(*heap_).live_blocks, 0u);
  expect_clean();
}

TEST_F(StatsTest, EveryClassIsCounted) {
  std::vector<char*> blocks;
  for (std::uint8_t id = 1; id <= kClassCount; ++id) {
    for (int i = 0; i < id; ++i) blocks.push_back(allocate(slot_bytes_for(id)));
  }
  const HeapStats stats = stats_of(*heap_);
  for (std::uint8_t id = 1; id <= kClassCount; ++id) {
    const ClassStats& of_class = stats.classes[id];
    EXPECT_EQ(of_class.used_slots - of_class.cached_slots, id) << int{id};
    EXPECT_GE(of_class.slabs, 1u);
    EXPECT_LE(of_class.used_slots, of_class.slabs * kClasses[id].slots);
  }
  free_all(blocks);
  expect_clean();
}

TEST_F(StatsTest, BlocksCachedByAnotherGroupCountAsCached) {
  VirtualThread other;
  std::vector<char*> blocks;
  other.run([&] { blocks = allocate_many(50, 32); });
  allocate_many(1, 32);
  EXPECT_EQ(stats_of(*heap_).live_blocks, 51u);
  free_all(blocks);
  EXPECT_EQ(stats_of(*heap_).live_blocks, 1u);
}

TEST_F(StatsTest, TheHeapIsSlabsLargeSpansAndFreeMemory) {
  allocate_many(3000, 300);
  const std::vector<char*> large = allocate_many(5, 1'500'000);
  heap_->free(large[2]);
  const HeapStats stats = stats_of(*heap_);
  EXPECT_EQ(stats.large_blocks, 4u);
  EXPECT_EQ(stats.large_bytes, 4 * align_up(1'500'000, 4096));
  const std::size_t large_spans = 4 * granules_for(1'500'000) * kGranuleBytes;
  EXPECT_EQ(stats.slab_bytes + large_spans + stats.free_bytes, stats.heap_bytes);
  EXPECT_LE(stats.touched_bytes, stats.free_bytes);
  EXPECT_EQ(stats.threads, 1u);
  EXPECT_EQ(stats.metadata_bytes, heap_->metadata().mapped_bytes());
}

TEST_F(StatsTest, PurgedMemoryIsCountedOnce) {
  free_all(allocate_many(10, 1'500'000));
  const std::size_t touched = stats_of(*heap_).touched_bytes;
  EXPECT_GE(touched, 1'000'000u);
  EXPECT_EQ(heap_->purge(), touched);
  EXPECT_EQ(stats_of(*heap_).purged_bytes, touched);
  EXPECT_EQ(heap_->purge(), 0u);
  EXPECT_EQ(stats_of(*heap_).purged_bytes, touched);
}

}  // namespace
}  // namespace carrel::core
