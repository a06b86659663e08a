// What happens around fork: every lock is taken in order and let go of again, and a child
// finds the heap whole, its helper thread forgotten. (Real forks are in tests/api.)
#include <thread>

#include "test_heap.h"

namespace carrel::core {
namespace {

class ForkTest : public HeapFixture {};

TEST_F(ForkTest, InTheParentEverythingGoesOn) {
  const std::vector<char*> blocks = allocate_many(100, 100);
  for (int i = 0; i < 3; ++i) {
    heap_->before_fork();
    heap_->after_fork_in_parent();
    free_all(allocate_many(1000, 500));
    heap_->free(allocate(1'000'000));
  }
  free_all(blocks);
  expect_clean();
}

TEST_F(ForkTest, InTheChildEverythingGoesOn) {
  const std::vector<char*> blocks = allocate_many(100, 100);
  heap_->before_fork();
  heap_->after_fork_in_child();
  free_all(allocate_many(1000, 500));
  heap_->free(allocate(1'000'000));
  free_all(blocks);
  expect_clean();
}

TEST_F(ForkTest, OthersWaitWhileTheProcessForks) {
  heap_->free(allocate(1'000'000));
  heap_->before_fork();
  std::atomic<bool> done{false};
  std::thread other([&] {
    heap_->free(allocate(1'000'000));
    detach();
    done = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(done);
  heap_->after_fork_in_parent();
  other.join();
  EXPECT_TRUE(done);
}

TEST_F(ForkTest, WaitsForWhatIsBeingGivenBack) {
  // What is out of the pool or of a slab at that moment would be lost to the child.
  static std::atomic<bool> purging;
  static std::atomic<int> forks;
  purging = false;
  forks = 0;
  std::vector<char*> small = allocate_many(3000, 256);
  for (std::size_t i = 1; i < small.size(); ++i) heap_->free(small[i]);
  heap_->free(allocate(8 * kMiB));
  FakeOs::settings.during_purge = [] {
    const int before = forks;
    purging = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(forks, before);
  };
  std::thread forker([&] {
    while (!purging) std::this_thread::yield();
    heap_->before_fork();
    ++forks;
    heap_->after_fork_in_parent();
  });
  heap_->purge();
  forker.join();
  FakeOs::settings.during_purge = nullptr;
  EXPECT_GE(FakeOs::calls(OsCall::kPurge), 2u) << "the slab's holes and the large block";
  heap_->free(small[0]);
  expect_clean();
}

TEST_F(ForkTest, TheChildStartsAHelperOfItsOwn) {
  heap_->free(allocate_many(1, 10 * kMiB)[0]);
  ASSERT_EQ(FakeOs::calls(OsCall::kStartThread), 1u);
  heap_->before_fork();
  heap_->after_fork_in_child();
  EXPECT_FALSE(heap_->purger().helper_running());
  heap_->free(allocate_many(1, 10 * kMiB)[0]);
  EXPECT_EQ(FakeOs::calls(OsCall::kStartThread), 2u);
  EXPECT_TRUE(FakeOs::run_thread());
  EXPECT_EQ(touched_bytes(), 0u);
}

TEST_F(ForkTest, AHeapThatWasNeverUsedMayForkToo) {
  heap_->before_fork();
  heap_->after_fork_in_parent();
  heap_->before_fork();
  heap_->after_fork_in_child();
  heap_->free(allocate(100));
  expect_clean();
}

}  // namespace
}  // namespace carrel::core
