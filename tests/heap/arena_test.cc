// Arenas and the limit on the simulated system: refusals of memory at any call leave all parts
// whole, spans tile the heap afterwards, and the limit is exact.
#include <map>
#include <random>

#include "heap/arena_set.h"
#include "test_heap.h"

namespace carrel::core {
namespace {

class ArenaOnFake : public HeapFixture {
 protected:
  void begin() {
    renew();
    ASSERT_TRUE(heap_->initialize());
    arenas_ = std::make_unique<ArenaSet<FakeOs>>(heap_->context(), heap_->purger());
    current_ = arenas_.get();
    static constexpr ArenaHooks kHooks = {
        .free = [](void* block) { current_->free(block); },
        .usable_size = [](const void* block) { return current_->usable_size(block); },
        .reallocate = [](void* block, std::size_t size,
                         std::size_t align) { return current_->reallocate(block, size, align); },
        .release_empty = [] { current_->release_empty(); },
        .before_fork = [] { current_->before_fork(); },
        .after_fork = [](bool in_child) { current_->after_fork(in_child); },
    };
    heap_->set_arena_hooks(&kHooks);
  }

  /// What remains in use of the heap once the arenas are gone.
  std::size_t spans_in_use() { return walk_pool(heap_->map(), heap_->pool()).in_use; }

  /// Requests of every kind against a model of what is live.
  void run_program(Arena<FakeOs>& arena, unsigned seed, int steps) {
    std::mt19937 random(seed);
    std::map<char*, std::size_t> live;
    for (int i = 0; i < steps; ++i) {
      const std::size_t size = random() % (i % 20 == 0 ? 300'000 : 3000) + 1;
      if (random() % 3 == 0 && !live.empty()) {
        const auto chosen = std::next(live.begin(), static_cast<long>(random() % live.size()));
        heap_->free(chosen->first);
        live.erase(chosen);
      } else if (random() % 4 == 0 && !live.empty()) {
        const auto chosen = std::next(live.begin(), static_cast<long>(random() % live.size()));
        char* old = chosen->first;
        const char mark = old[0];
        auto* moved = static_cast<char*>(heap_->reallocate(old, size, kSlotAlignment));
        if (moved == nullptr) continue;  // the old one stays
        ASSERT_EQ(moved[0], mark);
        live.erase(chosen);
        live[moved] = heap_->usable_size(moved);
      } else {
        auto* block = static_cast<char*>(arena.allocate(size, 16u << random() % 4, i % 2 == 0));
        if (block == nullptr) continue;
        ASSERT_TRUE(live.emplace(block, heap_->usable_size(block)).second);
        block[0] = static_cast<char>(i);
        block[size - 1] = static_cast<char>(i);
      }
    }
    std::map<char*, std::size_t> walked;
    arena.walk([&](void* block, std::size_t size) {
      return walked.emplace(static_cast<char*>(block), size).second;
    });
    ASSERT_EQ(walked, live);
  }

  std::unique_ptr<ArenaSet<FakeOs>> arenas_;
  static inline ArenaSet<FakeOs>* current_ = nullptr;
};

TEST_F(ArenaOnFake, EndingOneLeavesNothing) {
  begin();
  for (unsigned seed = 1; seed <= 5; ++seed) {
    Arena<FakeOs>* arena = arenas_->create();
    ASSERT_NE(arena, nullptr);
    run_program(*arena, seed, 2000);
    EXPECT_GT(spans_in_use(), 0u);
    ASSERT_TRUE(arenas_->destroy(*arena));
    EXPECT_FALSE(arenas_->destroy(*arena));
    EXPECT_EQ(spans_in_use(), 0u);
  }
  heap_->purge();
  EXPECT_EQ(touched_bytes(), 0u);
}

TEST_F(ArenaOnFake, RefusalsAtAnyCallLeaveAllPartsWhole) {
  std::uint64_t nth = 1;
  for (bool met = true; met && nth < 400; ++nth) {
    for (const bool lasting : {false, true}) {
      begin();
      FakeOs::fail_call(nth, lasting);
      Arena<FakeOs>* arena = arenas_->create();
      if (arena != nullptr) run_program(*arena, static_cast<unsigned>(nth), 150);
      met = FakeOs::failures() != 0;
      FakeOs::fail_call(0);
      if (arena == nullptr) arena = arenas_->create();
      ASSERT_NE(arena, nullptr) << "memory is to be had again";
      ASSERT_TRUE(arenas_->destroy(*arena));
      ASSERT_EQ(spans_in_use(), 0u) << "call " << nth;
    }
  }
  EXPECT_GT(nth, 5u);
}

TEST_F(ArenaOnFake, LimitOfTheArenaIsExact) {
  begin();
  Arena<FakeOs>* arena = arenas_->create();
  arena->set_limit(3 * kGranuleBytes);
  void* a = arena->allocate(2 * kGranuleBytes, 16, false);
  void* b = arena->allocate(100, 16, false);
  EXPECT_NE(a, nullptr);
  EXPECT_NE(b, nullptr);
  EXPECT_EQ(arena->allocate(kGranuleBytes, 16, false), nullptr);
  EXPECT_EQ(arena->allocate(1000, 16, false), nullptr) << "another class needs another slab";
  EXPECT_NE(arena->allocate(100, 16, false), nullptr);
  heap_->free(a);
  EXPECT_NE(arena->allocate(1000, 16, false), nullptr);
  arenas_->destroy(*arena);
}

TEST_F(ArenaOnFake, HardLimitOfTheHeapIsExact) {
  begin();
  heap_->pool().set_limits(SIZE_MAX, 20 * kGranuleBytes);
  std::vector<void*> blocks;
  while (char* block = allocate(kGranuleBytes)) blocks.push_back(block);
  EXPECT_EQ(heap_->pool().used_granules(), 20u);
  EXPECT_EQ(blocks.size(), 20u);
  // Two that are free and touched, apart from each other, make room for one of their length.
  heap_->free(blocks[3]);
  heap_->free(blocks[9]);
  EXPECT_EQ(heap_->pool().used_granules(), 20u);
  char* two = allocate(2 * kGranuleBytes);
  EXPECT_NE(two, nullptr) << "free memory is purged to make room";
  EXPECT_EQ(heap_->pool().used_granules(), 20u);
  EXPECT_EQ(allocate(1), nullptr);
  EXPECT_EQ(heap_->reallocate(blocks[5], 3 * kGranuleBytes, 16), nullptr);
  heap_->pool().set_limits(SIZE_MAX, SIZE_MAX);
  EXPECT_NE(allocate(1), nullptr);
}

TEST_F(ArenaOnFake, SoftLimitGivesBackWhatIsFree) {
  begin();
  free_all(allocate_many(50, 200'000));
  EXPECT_GT(touched_bytes(), 5 * kMiB);
  heap_->pool().set_limits(kMiB, SIZE_MAX);
  FakeOs::advance_ms(1000);
  heap_->free(allocate(100));
  for (int i = 0; i < 100; ++i) (void)allocate(100);
  EXPECT_LE(touched_bytes(), kMiB);
}

}  // namespace
}  // namespace carrel::core
