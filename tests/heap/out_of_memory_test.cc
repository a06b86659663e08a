// Out of memory: a program of every kind of request meets a refusal by the system at its
// Nth call, for every N until it meets none. Whatever N is: requests that fail return
// null, live blocks keep their contents, the program goes on, everything succeeds once
// memory is to be had, and in the end nothing has leaked.
#include "program.h"
#include "sanitizers.h"

namespace carrel::core {
namespace {

struct Scenario {
  const char* name;
  std::size_t page_bytes;
  std::size_t address_space_limit;
  bool lasting;  // every call from the Nth on, for a while; else that call only
  const char* options;
};
void PrintTo(const Scenario& scenario, std::ostream* out) { *out << scenario.name; }

constexpr Scenario kScenarios[] = {
    {"one_call", 4096, SIZE_MAX, false, ""},
    {"for_a_while", 4096, SIZE_MAX, true, ""},
    {"one_call_limited", 4096, 400 * kMiB, false, ""},
    {"for_a_while_limited", 4096, 400 * kMiB, true, ""},
    {"one_call_without_helper", 4096, SIZE_MAX, false, "purge_thread=0,decay_ms=100"},
    {"for_a_while_pages_of_64k", 64 * kKiB, SIZE_MAX, true, ""},
    {"for_a_while_one_shard", 16 * kKiB, SIZE_MAX, true, "shards=1,cache_kib=1"},
};

class OutOfMemory : public HeapFixture, public ::testing::WithParamInterface<Scenario> {
 protected:
  static constexpr int kSteps = 400;
  static constexpr int kStepsOfScarcity = 60;

  /// One run; false when the Nth call was never made.
  bool run(std::uint64_t nth, unsigned seed) {
    const Scenario& scenario = GetParam();
    renew();
    FakeOs::settings.page_bytes = scenario.page_bytes;
    FakeOs::settings.address_space_limit = scenario.address_space_limit;
    TestTls::options_text = scenario.options;

    Program program(*heap_, seed);
    bool scarce = true;
    std::uint64_t failures_seen = 0;
    program.allow([&] {
      // One refused call may cost one request; a lasting one, any number.
      const bool new_failure = FakeOs::failures() > failures_seen;
      failures_seen = FakeOs::failures();
      return scarce && new_failure;
    });
    FakeOs::fail_call(nth, scenario.lasting);
    int left = kSteps;
    while (left > 0 && FakeOs::failures() == 0) {
      program.run(1);
      --left;
    }
    const bool met = FakeOs::failures() != 0;
    program.run(scenario.lasting ? kStepsOfScarcity : 0);
    program.check_all();
    FakeOs::fail_call(0);
    scarce = false;
    program.run(left);
    program.check_all();
    program.finish();
    expect_clean();
    return met;
  }
};

TEST_P(OutOfMemory, AtTheNthCallForEveryN) {
  constexpr std::uint64_t kStep = kSanitized ? 5 : 1;  // they slow it down a lot
  std::uint64_t nth = 1;
  for (;; nth += kStep) {
    SCOPED_TRACE("call " + std::to_string(nth));
    const bool met = run(nth, 42);
    if (HasFailure()) return;
    if (!met) break;
    ASSERT_LT(nth, 5000u);
  }
  EXPECT_GT(nth, 30u) << "the program hardly ever needs the system";
  RecordProperty("calls", static_cast<int>(nth - 1));
}

INSTANTIATE_TEST_SUITE_P(Scenarios, OutOfMemory, ::testing::ValuesIn(kScenarios),
                         [](const auto& one) { return std::string(one.param.name); });

// --- limits that are reached instead of calls that fail -------------------------------

class Scarcity : public HeapFixture {
 protected:
  /// Allocates until nothing is to be had any more, frees everything, and again.
  void exhaust_repeatedly(std::size_t size) {
    std::size_t first_count = 0;
    for (int round = 0; round < 4; ++round) {
      std::vector<char*> blocks;
      while (char* block = allocate(size)) {
        memcpy(block, &block, sizeof block);
        blocks.push_back(block);
      }
      for (char* block : blocks) {
        char* stamp = nullptr;
        memcpy(&stamp, block, sizeof stamp);
        ASSERT_EQ(stamp, block);
      }
      if (round == 0) first_count = blocks.size();
      EXPECT_GE(blocks.size() * 100, first_count * 95) << "memory got lost in round " << round;
      free_all(blocks);
    }
    EXPECT_GT(first_count, 0u);
  }
};

TEST_F(Scarcity, ABudgetIsUsedUpAndComesBack) {
  for (const std::size_t size : {16u, 100u, 1000u, 30'000u, 100'000u, 3'000'000u}) {
    if (kSanitized && size < 1000) continue;  // they slow it down a lot
    SCOPED_TRACE(size);
    renew();
    FakeOs::settings.commit_budget_bytes = 64 * kMiB;
    exhaust_repeatedly(size);
    const PoolTotals totals = heap_->pool().totals();
    EXPECT_GE(totals.added << kGranuleShift, 52 * kMiB) << "most of the budget serves blocks";
    expect_clean();
  }
}

TEST_F(Scarcity, AnAddressSpaceLimitIsUsedUpAndComesBack) {
  if (kAddressSanitizer) GTEST_SKIP() << "its own mappings lie between ours, beyond any limit";
  for (const std::size_t size : {1000u, 100'000u, 3'000'000u}) {
    SCOPED_TRACE(size);
    renew();
    FakeOs::settings.address_space_limit = 300 * kMiB;
    exhaust_repeatedly(size);
    EXPECT_GE(heap_->pool().totals().added << kGranuleShift, 260 * kMiB);
    expect_clean();
  }
}

TEST_F(Scarcity, WhatSmallBlocksHeldServesLargeOnes) {
  FakeOs::settings.commit_budget_bytes = 64 * kMiB;
  std::vector<char*> blocks;
  while (char* block = allocate(1000)) blocks.push_back(block);
  free_all(blocks);
  char* large = allocate(40 * kMiB);
  EXPECT_NE(large, nullptr);
  heap_->free(large);
  expect_clean();
}

TEST_F(Scarcity, WhatOneSizeHeldServesAnother) {
  FakeOs::settings.cpu_count = 1;
  FakeOs::settings.commit_budget_bytes = 32 * kMiB;
  std::vector<char*> blocks;
  while (char* block = allocate(1000)) blocks.push_back(block);
  // Some in the cache, and the one empty slab that is kept for the next batch.
  for (int i = 0; i < 130; ++i) {
    heap_->free(blocks.back());
    blocks.pop_back();
  }
  char* other = allocate(300);
  EXPECT_NE(other, nullptr);
  heap_->free(other);
  free_all(blocks);
  expect_clean();
}

TEST_F(Scarcity, ABlockThatIsFreedServesTheNextRequest) {
  FakeOs::settings.commit_budget_bytes = 32 * kMiB;
  std::vector<char*> blocks;
  while (char* block = allocate(200)) blocks.push_back(block);
  for (int i = 0; i < 1000; ++i) {
    heap_->free(blocks.back());
    blocks.back() = allocate(200);
    ASSERT_NE(blocks.back(), nullptr);
  }
  free_all(blocks);
  expect_clean();
}

TEST_F(Scarcity, AThreadThatFindsNoMemoryForACacheIsServedWithoutOne) {
  char* first = allocate(64);
  std::vector<char*> blocks;
  FakeOs::fail_call(1, true);
  while (heap_->metadata().allocate(64) != nullptr) {
  }
  VirtualThread thread;
  thread.run([&] {
    while (char* block = allocate(64)) blocks.push_back(block);
    EXPECT_EQ(TestTls::current, &empty_cache);
    heap_->free(first);
    free_all(blocks);
  });
  EXPECT_GT(blocks.size(), 100u);
  FakeOs::fail_call(0);
  thread.exit(*heap_);
  expect_clean();
}

TEST_F(Scarcity, AHeapThatCannotBeginKeepsNothing) {
  // Each of the first calls refused in turn, many times over: the next attempt begins anew.
  std::uint64_t calls = 0;
  {
    allocate(1);
    calls = FakeOs::fallible_calls();
  }
  for (std::uint64_t nth = 1; nth <= calls; ++nth) {
    SCOPED_TRACE(nth);
    renew();
    for (int attempt = 0; attempt < 20; ++attempt) {
      FakeOs::fail_call(nth);
      heap_->free(allocate(1));
      FakeOs::fail_call(0);
    }
    heap_->free(allocate(1));
    ASSERT_TRUE(heap_->ready());
    expect_clean();
  }
}

TEST_F(Scarcity, UnderALimitAHeapThatCannotBeginTakesNoMoreEachTime) {
  FakeOs::settings.address_space_limit = 100 * kMiB;
  std::size_t held = 0;
  for (int attempt = 0; attempt < 50; ++attempt) {
    FakeOs::fail_call(attempt == 0 ? 3 : 1, true);  // the page map's entries, but no bins
    EXPECT_EQ(allocate(1), nullptr);
    FakeOs::fail_call(0);
    if (attempt == 0) held = FakeOs::address_space_bytes();
  }
  EXPECT_EQ(FakeOs::address_space_bytes(), held);
}

TEST_F(Scarcity, OptionsAreReadOnceHoweverOftenItBegins) {
  TestTls::options_text = "decay=5";
  for (std::uint64_t nth = 1; nth <= 4; ++nth) {
    FakeOs::fail_call(1, true);
    EXPECT_EQ(allocate(1), nullptr);
    FakeOs::fail_call(0);
  }
  EXPECT_NE(allocate(1), nullptr);
  EXPECT_EQ(TestTls::complaints, 1) << "a mistake is reported once";
}

}  // namespace
}  // namespace carrel::core
