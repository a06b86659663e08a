// heap/purger.h on a clock that the test holds in its hand: when memory goes back, with
// the helper thread and without it, and when that thread comes and goes.
#include <thread>

#include "test_heap.h"

namespace carrel::core {
namespace {

class PurgerTest : public HeapFixture {
 public:  // also for functions that the system calls back
  /// Frees this much touched memory, in blocks of 1 MiB.
  void free_mib(std::size_t mib) { free_all(allocate_many(mib, kMiB)); }

  /// What a program does that passes slow paths now and then.
  void poke() {
    for (int i = 0; i < 8; ++i) heap_->free(allocate(40'000));
  }

  /// Resident memory of all spans.
  std::size_t resident() {
    std::size_t bytes = 0;
    walk_pool<FakeOs>(heap_->map(), heap_->pool(), [&](const Span& span) {
      bytes += FakeOs::resident_bytes(heap_->map().address(span.first),
                                      std::size_t{span.count} << kGranuleShift);
    });
    return bytes;
  }
  bool helper_runs() const { return heap_->purger().helper_running(); }
};

// --- the helper thread ----------------------------------------------------------------

TEST_F(PurgerTest, ALittleFreeMemoryStartsNoThread) {
  free_mib(1);
  EXPECT_EQ(FakeOs::calls(OsCall::kStartThread), 0u);
}

TEST_F(PurgerTest, ALittleThatIsKeptForLargeBlocksStartsNoThread) {
  TestTls::options_text = "huge_pages=never";  // nor does anything else
  const std::vector<char*> live = allocate_many(40, kMiB);
  FakeOs::advance_ms(1000);
  heap_->free(allocate(100'000));
  EXPECT_GT(heap_->spans().granules(), 0u);
  FakeOs::advance_ms(1000);
  poke();
  EXPECT_EQ(FakeOs::calls(OsCall::kStartThread), 0u);
  free_all(live);
}

TEST_F(PurgerTest, MuchFreeMemoryStartsOneThread) {
  free_mib(50);
  EXPECT_EQ(FakeOs::calls(OsCall::kStartThread), 1u);
  EXPECT_TRUE(helper_runs());
}

TEST_F(PurgerTest, MemoryGoesBackAfterTheDecayTimeNotBefore) {
  static std::uint64_t first_purge_ms;
  first_purge_ms = 0;
  FakeOs::advance_ms(5000);
  free_mib(50);
  const std::uint64_t freed_ms = FakeOs::now_ms();
  const std::size_t touched = touched_bytes();
  EXPECT_GE(touched, 2 * kMiB);
  FakeOs::settings.before_call = [](OsCall call, void*, std::size_t) {
    if (call == OsCall::kPurge && first_purge_ms == 0) first_purge_ms = FakeOs::now_ms();
  };
  ASSERT_TRUE(FakeOs::run_thread());
  EXPECT_GE(first_purge_ms, freed_ms + kDefault.decay_ms - 100);
  EXPECT_LE(first_purge_ms, freed_ms + kDefault.decay_ms + 200);
  EXPECT_EQ(touched_bytes(), 0u);
  EXPECT_EQ(resident(), 0u);
}

TEST_F(PurgerTest, DecayTimeIsAnOption) {
  for (const char* decay : {"0", "100", "3000", "20000"}) {
    SCOPED_TRACE(decay);
    renew();
    static std::uint64_t first_purge_ms;
    first_purge_ms = 0;
    TestTls::options_text = std::string("decay_ms=") + decay;
    FakeOs::advance_ms(777);
    free_mib(20);
    const std::uint64_t freed_ms = FakeOs::now_ms();
    FakeOs::settings.before_call = [](OsCall call, void*, std::size_t) {
      if (call == OsCall::kPurge && first_purge_ms == 0) first_purge_ms = FakeOs::now_ms();
    };
    ASSERT_TRUE(FakeOs::run_thread());
    const std::uint64_t decay_ms = std::stoul(decay);
    EXPECT_GE(first_purge_ms + 100, freed_ms + decay_ms);
    EXPECT_LE(first_purge_ms, freed_ms + decay_ms + 200);
    EXPECT_EQ(touched_bytes(), 0u);
  }
}

TEST_F(PurgerTest, WhereMemoryIsShortNothingRests) {
  TestTls::options_text = "decay_ms=20000";
  free_mib(50);
  FakeOs::settings.memory_is_short = true;
  static std::uint64_t all_gone_ms;
  all_gone_ms = 0;
  static PurgerTest* self;
  self = this;
  const std::uint64_t freed_ms = FakeOs::now_ms();
  FakeOs::settings.before_call = [](OsCall call, void*, std::size_t) {
    if (call != OsCall::kWait) return;
    if (all_gone_ms == 0 && self->touched_bytes() == 0) all_gone_ms = FakeOs::now_ms();
    if (FakeOs::now_ms() > 60'000) FakeOs::settings.memory_is_short = false;
  };
  ASSERT_TRUE(FakeOs::run_thread());
  EXPECT_LE(all_gone_ms, freed_ms + 1200);
  EXPECT_GE(FakeOs::now_ms(), 60'000u) << "somebody must notice the end of it";
  EXPECT_LE(FakeOs::now_ms(), 90'000u);
  EXPECT_FALSE(heap_->pool().memory_is_short());
}

TEST_F(PurgerTest, WhereMemoryIsShortCachesAreEmptied) {
  TestTls::options_text = "purge_thread=0";
  const std::uint8_t id = size_class_for(100);
  for (const bool is_short : {false, true}) {
    FakeOs::settings.memory_is_short = is_short;
    free_mib(50);
    FakeOs::advance_ms(1500);
    poke();  // looks
    free_all(allocate_many(200, 100));
    EXPECT_GE(TestTls::cache()->bins[id].size(), 50u);
    FakeOs::advance_ms(100);  // too soon for what idle bins lose
    poke();
    EXPECT_EQ(TestTls::cache()->bins[id].size() == 0, is_short);
  }
}

TEST_F(PurgerTest, NobodyLooksIfSwitchedOff) {
  TestTls::options_text = "decay_ms=20000,watch_memory=0";
  FakeOs::settings.memory_is_short = true;
  free_mib(50);
  const std::uint64_t freed_ms = FakeOs::now_ms();
  ASSERT_TRUE(FakeOs::run_thread());
  EXPECT_GE(FakeOs::now_ms(), freed_ms + 20'000);
}

TEST_F(PurgerTest, MemoryInDailyUseStays) {
  // A program that frees and takes the same blocks all the time: they never get old.
  static PurgerTest* self;
  static std::vector<char*>* blocks;
  static int rounds;
  self = this;
  std::vector<char*> mine;
  blocks = &mine;
  rounds = 0;
  free_mib(30);
  FakeOs::settings.before_call = [](OsCall call, void*, std::size_t) {
    if (call != OsCall::kWait || ++rounds > 50) return;
    *blocks = self->allocate_many(30, kMiB);
    self->free_all(*blocks);
  };
  const std::uint64_t before = FakeOs::calls(OsCall::kPurge);
  ASSERT_TRUE(FakeOs::run_thread());
  EXPECT_GT(rounds, 50) << "it ended although there was memory to watch";
  const std::uint64_t purges = FakeOs::calls(OsCall::kPurge) - before;
  EXPECT_LE(purges, 40u) << "memory in use went back and forth";
  EXPECT_EQ(touched_bytes(), 0u);
}

TEST_F(PurgerTest, TheThreadEndsSoonWhenNothingIsLeft) {
  free_mib(50);
  ASSERT_TRUE(FakeOs::run_thread());
  EXPECT_FALSE(helper_runs());
  EXPECT_LE(FakeOs::now_ms(), 5000u);
  EXPECT_EQ(FakeOs::calls(OsCall::kStartThread), 1u);
}

TEST_F(PurgerTest, AndIsStartedAgainWhenThereIsWork) {
  for (std::uint64_t round = 1; round <= 5; ++round) {
    free_mib(50);
    EXPECT_EQ(FakeOs::calls(OsCall::kStartThread), round);
    ASSERT_TRUE(FakeOs::run_thread());
    EXPECT_EQ(touched_bytes(), 0u);
  }
}

TEST_F(PurgerTest, TheThreadGivesUpOnLockedMemory) {
  FakeOs::settings.refuse_purge = true;
  free_mib(50);
  ASSERT_TRUE(FakeOs::run_thread());  // an endless life would hang here
  EXPECT_FALSE(helper_runs());
  EXPECT_GT(touched_bytes(), 0u);
  EXPECT_LE(FakeOs::now_ms(), 60'000u);
  FakeOs::settings.refuse_purge = false;
  heap_->purge();
  EXPECT_EQ(touched_bytes(), 0u);
}

TEST_F(PurgerTest, TheThreadEndsWhenSwitchedOff) {
  static FakeHeap* heap;
  heap = heap_.get();
  free_mib(50);
  FakeOs::settings.before_call = [](OsCall call, void*, std::size_t) {
    if (call == OsCall::kWait) heap->set_option_now("purge_thread", "0");
  };
  ASSERT_TRUE(FakeOs::run_thread());
  EXPECT_LE(FakeOs::now_ms(), 300u);
  EXPECT_FALSE(helper_runs());
}

TEST_F(PurgerTest, WorkThatComesWhileTheThreadEndsIsNotForgotten) {
  // Whatever step of its end the thread has reached: at each of its last waits, free.
  std::uint64_t waits = 0;
  {
    free_mib(4);
    FakeOs::run_thread();
    waits = FakeOs::calls(OsCall::kWait);
  }
  static PurgerTest* self;
  static std::uint64_t at;
  static std::uint64_t seen;
  self = this;
  for (at = 1; at <= waits; ++at) {
    renew();
    seen = 0;
    free_mib(4);
    FakeOs::settings.before_call = [](OsCall call, void*, std::size_t) {
      if (call == OsCall::kWait && ++seen == at) self->free_mib(4);
    };
    while (FakeOs::run_thread()) {
    }
    EXPECT_EQ(touched_bytes(), 0u) << "freed at wait " << at << " of " << waits;
  }
}

TEST_F(PurgerTest, RunsAsARealThread) {
  FakeOs::settings.real_threads = true;
  free_mib(50);
  for (int i = 0; i < 5000 && touched_bytes() != 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(touched_bytes(), 0u);
  for (int i = 0; i < 5000 && helper_runs(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_FALSE(helper_runs());
  expect_clean();
}

TEST_F(PurgerTest, RunsBesideThreadsThatAllocate) {
  FakeOs::settings.real_threads = true;
  std::atomic<int> errors{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 30; ++round) {
        std::vector<char*> blocks;
        for (std::size_t i = 0; i < 500; ++i) {
          const std::size_t size = i % 50 == 0 ? 300'000 : 100 + i * 10;
          blocks.push_back(allocate(size));
          memset(blocks.back(), t + 1, size);
        }
        for (std::size_t i = 0; i < blocks.size(); ++i) {
          errors += blocks[i][0] != t + 1 || blocks[i][99] != t + 1;
          heap_->free(blocks[i]);
        }
      }
      detach();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors, 0);
  for (int i = 0; i < 5000 && helper_runs(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  expect_clean();
}

// --- without it -----------------------------------------------------------------------

TEST_F(PurgerTest, SwitchedOffNoThreadIsStarted) {
  TestTls::options_text = "purge_thread=0";
  free_mib(100);
  EXPECT_EQ(FakeOs::calls(OsCall::kStartThread), 0u);
}

TEST_F(PurgerTest, WithoutTheThreadSlowPathsGiveMemoryBack) {
  for (const bool refused : {false, true}) {
    SCOPED_TRACE(refused ? "the system refuses threads" : "switched off");
    renew();
    FakeOs::settings.refuse_threads = refused;
    if (!refused) TestTls::options_text = "purge_thread=0";
    free_mib(100);
    const std::size_t at_first = touched_bytes();
    for (int i = 0; i < 40; ++i) {
      FakeOs::advance_ms(100);
      poke();
    }
    EXPECT_LE(touched_bytes(), 3 * kMiB) << "of " << at_first;
  }
}

TEST_F(PurgerTest, WithoutTheThreadFreeMemoryIsBounded) {
  FakeOs::advance_ms(10'000);
  TestTls::options_text = "purge_thread=0,decay_ms=20000";
  const std::vector<char*> kept = allocate_many(40, kMiB);
  free_mib(200);
  FakeOs::advance_ms(100);
  poke();
  EXPECT_LE(touched_bytes(), 40 * kMiB / 4 + 6 * kMiB) << "a quarter of what is in use";
  EXPECT_GE(touched_bytes(), 3 * kMiB) << "but not everything either";
  free_all(kept);
}

TEST_F(PurgerTest, WithoutTheThreadOneCallNeverDoesAllTheWork) {
  TestTls::options_text = "purge_thread=0";
  const std::vector<char*> kept = allocate_many(400, kMiB);
  free_mib(100);
  FakeOs::advance_ms(3000);
  const std::size_t before = touched_bytes();
  poke();
  EXPECT_LE(before - touched_bytes(), 32 * kMiB + 8 * kMiB);
  free_all(kept);
}

TEST_F(PurgerTest, WhereThreadsAreRefusedTheyAreNotTriedAtEveryTurn) {
  FakeOs::settings.refuse_threads = true;
  free_mib(50);
  const std::uint64_t before = FakeOs::calls(OsCall::kStartThread);
  for (int i = 0; i < 1000; ++i) poke();  // all within one tick
  EXPECT_LE(FakeOs::calls(OsCall::kStartThread) - before, 10u);
}

// --- holes in live slabs --------------------------------------------------------------

TEST_F(PurgerTest, HolesOfColdSlabsGoBackByThemselves) {
  std::vector<char*> blocks = allocate_many(60'000, 128);
  std::vector<char*> stragglers;
  std::vector<char*> others;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    (i % 500 == 0 ? stragglers : others).push_back(blocks[i]);
  }
  for (char* block : stragglers) memset(block, 's', 128);
  const std::size_t before = resident();
  free_all(others);
  ASSERT_TRUE(FakeOs::run_thread());
  EXPECT_LE(resident(), before / 4);
  EXPECT_LE(FakeOs::now_ms(), 10'000u);
  for (char* block : stragglers) {
    ASSERT_EQ(block[0], 's');
    ASSERT_EQ(block[127], 's');
  }
  free_all(stragglers);
  expect_clean();
}

TEST_F(PurgerTest, HolesGoBackWithoutTheThreadToo) {
  TestTls::options_text = "purge_thread=0";
  std::vector<char*> blocks = allocate_many(60'000, 128);
  std::vector<char*> stragglers;
  std::vector<char*> others;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    (i % 500 == 0 ? stragglers : others).push_back(blocks[i]);
  }
  const std::size_t before = resident();
  free_all(others);
  for (int i = 0; i < 50; ++i) {
    FakeOs::advance_ms(100);
    poke();
  }
  EXPECT_LE(resident(), before / 3);
  free_all(stragglers);
  expect_clean();
}

TEST_F(PurgerTest, AnIdleCacheKeepsLittle) {
  free_all(allocate_many(100'000, 100));
  EXPECT_LE(stats_of(*heap_).cached_bytes, 64 * kKiB);
}

// --- on demand ------------------------------------------------------------------------

TEST_F(PurgerTest, OnDemandEverythingGoesAtOnce) {
  free_all(allocate_many(20'000, 300));
  free_mib(30);
  EXPECT_GT(heap_->purge(), 5 * kMiB);
  EXPECT_EQ(touched_bytes(), 0u);
  EXPECT_EQ(resident(), 0u);
  EXPECT_EQ(heap_->purge(), 0u);
}

TEST_F(PurgerTest, OnDemandLiveBlocksStay) {
  const std::vector<char*> live = allocate_many(1000, 700);
  for (std::size_t i = 0; i < live.size(); ++i) memset(live[i], static_cast<int>(i), 700);
  free_all(allocate_many(20'000, 700));
  heap_->purge();
  for (std::size_t i = 0; i < live.size(); ++i) {
    ASSERT_EQ(live[i][0], static_cast<char>(i));
    ASSERT_EQ(live[i][699], static_cast<char>(i));
  }
  free_all(live);
  expect_clean();
}

}  // namespace
}  // namespace carrel::core
