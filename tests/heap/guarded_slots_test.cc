// Slots for sampled blocks, on the simulated system: a slot's life on both sides of its fences, in
// which order slots serve again, what happens when there are none, and when the system refuses.
#include "heap/guarded_slots.h"

#include <algorithm>
#include <set>
#include <vector>

#include "fake_os_test.h"
#include "mem/lending.h"
#include "pool_walker.h"
#include "sanitizers.h"

namespace carrel::core {
namespace {

constexpr std::uint32_t kSlots = 64;
using SlotsOs = HardenedOs<FakeOs, Hardening{.guarded_slots = kSlots}>;
using Slots = GuardedSlots<SlotsOs>;

class GuardedSlotsTest : public FakeOsTest {
 protected:
  struct Parts {
    PageMap<SlotsOs> map;
    MetadataArena<SlotsOs> metadata;
    SpanPool<SlotsOs> pool{map, metadata};
    Slots slots{map, pool, metadata};
  };

  GuardedSlotsTest() { renew(1); }

  void renew(std::uint64_t secret, std::size_t page_bytes = 4096) {
    parts_.reset();
    FakeOs::reset();
    FakeOs::settings.page_bytes = page_bytes;
    parts_ = std::make_unique<Parts>();
    ASSERT_TRUE(parts_->map.initialize(kGiB * 64));
    slots().initialize(secret);
  }
  Slots& slots() { return parts_->slots; }

  char* take(std::size_t size, std::size_t alignment = kSlotAlignment) {
    return static_cast<char*>(slots().allocate(size, alignment));
  }
  static std::size_t page() { return FakeOs::page_bytes(); }

  /// The pages of a live block, all of which and nothing beside them can be touched.
  static void expect_fences(const char* block, std::size_t size) {
    const std::uintptr_t first = align_down(address_of(block), page());
    const std::size_t bytes = size == 0 ? 0 : align_up(size, page());
    EXPECT_TRUE(bytes == 0 || FakeOs::is_usable(at_address<void>(first), bytes));
    EXPECT_FALSE(FakeOs::is_usable(at_address<void>(first - page()), page()));
    EXPECT_FALSE(FakeOs::is_usable(at_address<void>(first + bytes), page()));
  }
  static bool begins_at_fence(const char* block) { return address_of(block) % page() == 0; }

  GuardedSlot::State state_of(const void* block) {
    const GuardedSlot* slot = slots().nearest(block);
    EXPECT_NE(slot, nullptr);
    return slot == nullptr ? GuardedSlot::kUnused
                           : static_cast<GuardedSlot::State>(slot->state.load());
  }

  /// After a report about the block, on a system whose abort() throws: the free never happened.
  void return_to_life(char* block, int offset, char kept) {
    block[offset] = kept;
    const_cast<GuardedSlot*>(slots().nearest(block))->state = GuardedSlot::kLive;
  }
  void expect_report_of_double_free(char* block) {
    FakeOs::clear_stderr();
    EXPECT_THROW(slots().free(block), FakeOsAbort);
    EXPECT_NE(std::string(FakeOs::stderr_text()).find("double-free"), std::string::npos);
  }
  WalkTotals walk() {
    WalkTotals totals;
    for (std::size_t at = 0; at < parts_->map.granule_count();) {
      const Span* span = parts_->map.granule(at).span;
      if (span == nullptr) {
        ++at;
        continue;
      }
      if (span->state != SpanState::kFree) totals.in_use += span->count;
      at += span->count;
    }
    return totals;
  }

  /// Every slot there can be, live.
  std::vector<char*> take_all(std::size_t size) {
    std::vector<char*> blocks;
    while (char* block = take(size)) blocks.push_back(block);
    return blocks;
  }
  /// Which slot an address lies in, as its place in memory says.
  static std::uintptr_t slot_place(const char* block) {
    return address_of(block) >> kGranuleShift;  // with pages of 4 KiB a slot is one granule
  }
  void expect_none_live() {
    EXPECT_EQ(slots().totals().live_blocks, 0u);
    EXPECT_EQ(slots().totals().live_page_bytes, 0u);
  }

  std::unique_ptr<Parts> parts_;
};

TEST_F(GuardedSlotsTest, ABlockLivesBetweenFencesAndItsMemoryIsGoneAfterwards) {
  for (const std::size_t size : {1u, 16u, 100u, 4095u, 4096u, 4097u, 20'000u, 32'768u}) {
    SCOPED_TRACE(size);
    char* block = take(size);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(address_of(block) % kSlotAlignment, 0u);
    EXPECT_EQ(slots().size_of(block), size);
    EXPECT_EQ(std::count(block, block + size, 0), static_cast<std::ptrdiff_t>(size));
    expect_fences(block, size);
    EXPECT_EQ(state_of(block), GuardedSlot::kLive);
    memset(block, 0xAB, size);
    EXPECT_EQ(slots().totals().live_blocks, 1u);
    EXPECT_EQ(slots().totals().live_page_bytes, align_up(size, page()));

    slots().free(block);
    EXPECT_EQ(state_of(block), GuardedSlot::kFreed);
    const void* first = at_address<void>(align_down(address_of(block), page()));
    EXPECT_FALSE(FakeOs::is_usable(first, page()));
    EXPECT_EQ(FakeOs::resident_bytes(first, align_up(size, page())), 0u);
    expect_none_live();
  }
  EXPECT_EQ(slots().totals().sampled, 8u);
}

TEST_F(GuardedSlotsTest, BlocksOfNoBytesHaveNoMemory) {
  char* block = take(0);
  ASSERT_NE(block, nullptr);
  expect_fences(block, 0);
  EXPECT_EQ(slots().size_of(block), 0u);
  EXPECT_EQ(slots().totals().live_page_bytes, 0u);
  slots().free(block);
  expect_report_of_double_free(block);
}

TEST_F(GuardedSlotsTest, SomeBlocksBeginAtAFenceAndMoreEndAtOne) {
  int begin = 0;
  int end = 0;
  constexpr int kCount = 400;
  for (int i = 0; i < kCount; ++i) {
    char* block = take(48);
    ASSERT_NE(block, nullptr);
    begin += begins_at_fence(block) ? 1 : 0;
    end += (address_of(block) + 48) % page() == 0 ? 1 : 0;
    slots().free(block);
  }
  EXPECT_EQ(begin + end, kCount);
  EXPECT_GT(begin, kCount / 8);
  EXPECT_GT(end, kCount / 2);
}

TEST_F(GuardedSlotsTest, OnWhichSideAndWhereInTheSlotFollowsTheSecret) {
  const auto places = [&](std::uint64_t secret) {
    renew(secret);
    std::vector<std::uintptr_t> found;
    for (int i = 0; i < 20; ++i) found.push_back(address_of(take(48)) % kGranuleBytes);
    return found;
  };
  const auto first = places(1);
  EXPECT_EQ(first, places(1));
  EXPECT_NE(first, places(2));
  EXPECT_GT(std::set(first.begin(), first.end()).size(), 8u);
}

TEST_F(GuardedSlotsTest, WritingBesideABlockIsNoticedAtItsFreeOnBothSides) {
  bool seen[2] = {};
  for (int i = 0; i < 60; ++i) {
    char* block = take(40);  // 8 bytes of its last unit are not its own
    ASSERT_NE(block, nullptr);
    const bool left = begins_at_fence(block);
    seen[left ? 0 : 1] = true;
    for (const int offset : left ? std::vector{40, 47, 4095} : std::vector{40, 47, -1, -4048}) {
      SCOPED_TRACE(offset);
      const char kept = block[offset];
      block[offset] = static_cast<char>(kept + 1);
      const char* code = offset < 0 ? "underflow" : "overflow";
      FakeOs::clear_stderr();
      EXPECT_THROW(slots().free(block), FakeOsAbort);
      EXPECT_NE(std::string(FakeOs::stderr_text()).find(code), std::string::npos)
          << FakeOs::stderr_text();
      return_to_life(block, offset, kept);
    }
    slots().free(block);
  }
  EXPECT_TRUE(seen[0] && seen[1]);
}

TEST_F(GuardedSlotsTest, AlignmentsUpToAPageAreKept) {
  for (std::size_t alignment = 16; alignment <= page(); alignment *= 2) {
    for (const std::size_t size : {0u, 1u, 24u, 3000u, 5000u, 32'768u}) {
      char* block = take(size, alignment);
      ASSERT_NE(block, nullptr) << alignment << " " << size;
      EXPECT_EQ(address_of(block) % alignment, 0u) << size;
      slots().free(block);
    }
  }
  EXPECT_EQ(take(16, 2 * page()), nullptr);
  EXPECT_EQ(take(kMaxSlotBytes + 1), nullptr);
  expect_none_live();
}

TEST_F(GuardedSlotsTest, PagesOf64KiBAreServedToo) {
  renew(1, 64 * kKiB);
  for (const std::size_t size : {1u, 100u, 32'768u}) {
    char* block = take(size);
    ASSERT_NE(block, nullptr);
    expect_fences(block, size);
    memset(block, 1, size);
    slots().free(block);
  }
  EXPECT_EQ(take_all(100).size(), kSlots - 3);
}

TEST_F(GuardedSlotsTest, TheSlotThatWaitsLongestServesNextButOnlyWhenEnoughWait) {
  const std::vector<char*> blocks = take_all(100);
  ASSERT_EQ(blocks.size(), kSlots);
  std::vector<std::uintptr_t> freed;
  for (std::uint32_t i = 0; i < Slots::kLeastWaiting; ++i) {
    EXPECT_EQ(take(100), nullptr) << "with " << i << " waiting";
    slots().free(blocks[3 * i]);
    freed.push_back(slot_place(blocks[3 * i]));
  }
  char* again = take(200);
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(slot_place(again), freed[0]);
  EXPECT_EQ(take(100), nullptr) << "one fewer waits now";
  slots().free(again);  // behind all others
  for (std::size_t i = 1; i < freed.size(); ++i) {
    again = take(300);
    ASSERT_NE(again, nullptr);
    EXPECT_EQ(slot_place(again), freed[i]);
    slots().free(again);
  }
  again = take(300);
  EXPECT_EQ(slot_place(again), freed[0]);
}

TEST_F(GuardedSlotsTest, NoneIsServedAgainBeforeAllWereUsedOnce) {
  std::set<std::uintptr_t> seen;
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    char* block = take(64);
    ASSERT_NE(block, nullptr);
    EXPECT_TRUE(seen.insert(slot_place(block)).second) << "slot " << i;
    slots().free(block);
  }
  EXPECT_EQ(slots().totals().slots, kSlots);
  char* block = take(64);
  EXPECT_FALSE(seen.insert(slot_place(block)).second);
  EXPECT_EQ(slots().totals().slots, kSlots);
}

TEST_F(GuardedSlotsTest, WhatASlotHeldBeforeIsNotSeenAgain) {
  std::vector<char*> blocks = take_all(5000);
  for (char* block : blocks) memset(block, 0x5A, 5000);
  for (char* block : blocks) slots().free(block);
  for (std::uint32_t i = 0; i < kSlots - Slots::kLeastWaiting + 1; ++i) {
    char* block = take(5000);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(std::count(block, block + 5000, 0), 5000);
  }
}

TEST_F(GuardedSlotsTest, WrongPointersAreReported) {
  char* block = take(100);
  const auto expect_code = [&](const char* code, auto misuse) {
    FakeOs::clear_stderr();
    EXPECT_THROW(misuse(), FakeOsAbort) << "no report; expected " << code;
    const std::string text = FakeOs::stderr_text();
    EXPECT_EQ(text.rfind(std::string("carrel: error ") + code + ":", 0), 0u) << text;
  };
  expect_code("interior-pointer", [&] { slots().free(block + 16); });
  expect_code("interior-pointer", [&] { slots().size_of(block - 16); });
  expect_code("size-mismatch", [&] { slots().check_size(block, 101); });
  slots().check_size(block, 100);
  slots().check_size(block + 1, 7);  // no block: free's business
  // Slots that were never made, and one that was but in which nothing lived yet.
  expect_code("invalid-free", [&] { slots().free(block + kGranuleBytes); });
  FakeOs::fail_call(2);  // after the fence
  EXPECT_EQ(take(100), nullptr);
  FakeOs::fail_call(0);
  expect_code("invalid-free", [&] { slots().free(block + kGranuleBytes); });
  slots().free(block);
  expect_code("double-free", [&] { slots().free(block); });
  expect_code("double-free", [&] { slots().size_of(block); });
}

TEST_F(GuardedSlotsTest, ShrunkBlocksEndWhereTheySay) {
  for (int i = 0; i < 20; ++i) {
    char* block = take(5000);
    memset(block, 1, 5000);
    slots().shrink(block, 900);
    EXPECT_EQ(slots().size_of(block), 900u);
    EXPECT_EQ(std::count(block, block + 900, 1), 900);
    slots().shrink(block, 2000);  // never longer
    EXPECT_EQ(slots().size_of(block), 900u);
    const char kept = block[900];
    block[900] = 1;
    EXPECT_THROW(slots().free(block), FakeOsAbort);
    return_to_life(block, 900, kept);
    slots().free(block);
  }
  expect_none_live();
}

TEST_F(GuardedSlotsTest, TheNearestBlockIsFoundFromBothSides) {
  EXPECT_EQ(parts_->map.granule_count(), 0u);
  std::vector<char*> blocks = take_all(100);
  for (const char* block : blocks) {
    for (const int offset : {0, 99, 100, -1, -2000, 3000}) {
      const GuardedSlot* slot = slots().nearest(block + offset);
      ASSERT_NE(slot, nullptr);
      EXPECT_EQ(slot->block, block) << offset;
    }
  }
  slots().free(blocks[5]);
  EXPECT_EQ(slots().nearest(blocks[5] - 1)->block, blocks[5]);
}

TEST_F(GuardedSlotsTest, ASlotInWhichNothingLivedYetIsNobodysNeighbour) {
  std::uint64_t calls = FakeOs::fallible_calls();
  const char* first = take(100);
  calls = FakeOs::fallible_calls() - calls;
  ASSERT_NE(first, nullptr);
  renew(1);
  FakeOs::fail_call(calls);  // made and fenced, not opened
  EXPECT_EQ(take(100), nullptr);
  FakeOs::fail_call(0);
  EXPECT_EQ(slots().totals().slots, 1u);
  const OsRange slot = FakeOs::range_of(OsCall::kFence, 0);
  EXPECT_EQ(slots().nearest(at_address<void>(slot.start)), nullptr);
  const char* second = take(100);
  EXPECT_EQ(slots().nearest(at_address<void>(slot.start))->block, second);
}

TEST_F(GuardedSlotsTest, StacksAreKeptWithoutTheirInnermostHiddenFrames) {
  static std::uintptr_t next = 0;
  slots().set_stack_reader(
      [](const void** frames, std::size_t capacity) -> std::size_t {
        EXPECT_GE(capacity, std::size_t{ShortTrace::kMaxFrames});
        const std::uintptr_t stack[] = {0x1000, 0x1800, ++next, 0x1400};
        for (std::size_t i = 0; i < 4; ++i) frames[i] = at_address<void>(stack[i]);
        return 4;
      },
      0x1000, 0x2000);
  next = 0x5000;
  char* block = take(100);
  const GuardedSlot* slot = slots().nearest(block);
  ASSERT_EQ(slot->allocated.depth, 2u);
  EXPECT_EQ(address_of(slot->allocated.frames[0]), 0x5001u);
  EXPECT_EQ(address_of(slot->allocated.frames[1]), 0x1400u);
  EXPECT_EQ(slot->freed.depth, 0u);
  slots().free(block);
  ASSERT_EQ(slot->freed.depth, 2u);
  EXPECT_EQ(address_of(slot->freed.frames[0]), 0x5002u);
}

// --- fork -----------------------------------------------------------------------------

TEST_F(GuardedSlotsTest, AChildGetsBackWhatVanishedThreadsWereMoving) {
  std::vector<char*> blocks = take_all(100);
  for (std::size_t i = 0; i < blocks.size() / 2; ++i) slots().free(blocks[i]);
  // The child is made while another thread is in the middle of a free or an allocation: where it
  // reads its stack.
  static Slots* forked = nullptr;
  struct Vanish {};
  forked = &slots();
  slots().set_stack_reader([](const void**, std::size_t) -> std::size_t { throw Vanish(); }, 0, 0);
  EXPECT_THROW(slots().free(blocks[40]), Vanish);
  EXPECT_THROW(take(100), Vanish);
  slots().set_stack_reader(nullptr, 0, 0);
  forked->lock();
  forked->reset_after_fork();
  EXPECT_EQ(slots().totals().live_blocks, blocks.size() / 2 - 1);
  EXPECT_EQ(slots().totals().live_page_bytes, (blocks.size() / 2 - 1) * page());
  EXPECT_EQ(state_of(blocks[40]), GuardedSlot::kFreed);
  for (std::size_t i = blocks.size() / 2; i < blocks.size(); ++i) {
    if (i != 40) slots().free(blocks[i]);
  }
  expect_none_live();
  EXPECT_EQ(take_all(100).size(), kSlots - Slots::kLeastWaiting + 1) << "a slot is lost";
}

// --- the system refuses ---------------------------------------------------------------

TEST_F(GuardedSlotsTest, UnderALimitOnMemoryThereAreNone) {
  parts_->pool.set_limits(SIZE_MAX, 64 * kMiB);
  EXPECT_EQ(take(100), nullptr);
  EXPECT_EQ(slots().totals().slots, 0u);
  EXPECT_EQ(parts_->pool.totals().added, 0u);
}

TEST_F(GuardedSlotsTest, ASlotThatCannotBeFencedWaitsUntilItCan) {
  const std::vector<char*> blocks = take_all(100);
  for (char* block : blocks) memset(block, 1, 100);
  FakeOs::settings.refuse_fences = true;
  for (char* block : blocks) slots().free(block);
  expect_none_live();
  for (char* block : blocks) {
    EXPECT_EQ(state_of(block), GuardedSlot::kBroken);
    const void* first = at_address<void>(align_down(address_of(block), page()));
    EXPECT_EQ(FakeOs::resident_bytes(first, page()), 0u) << "its memory is given back";
  }
  EXPECT_EQ(take(100), nullptr);
  expect_report_of_double_free(blocks[3]);
  FakeOs::settings.refuse_fences = false;
  const std::vector<char*> again = take_all(100);
  EXPECT_EQ(again.size(), kSlots - Slots::kLeastWaiting + 1);
  for (char* block : again) {
    expect_fences(block, 100);
    slots().free(block);
  }
  expect_none_live();
}

TEST_F(GuardedSlotsTest, TheNthCallFailsForEveryN) {
  // All slots are taken, freed and taken again: whatever is refused, no slot is lost for good,
  // no memory either, and live blocks are as they were.
  constexpr std::uint64_t kStep = kSanitized ? 7 : 1;
  std::uint64_t nth = 1;
  for (;; nth += kStep) {
    SCOPED_TRACE("call " + std::to_string(nth));
    renew(nth);
    FakeOs::fail_call(nth);
    std::uint32_t refusals = 0;
    std::vector<char*> live;
    for (std::uint32_t i = 0; i < 3 * kSlots; ++i) {
      char* block = take(100 + i);
      if (block != nullptr) {
        memset(block, static_cast<int>(i), 100 + i);
        live.push_back(block);
      }
      // Once all slots were made, none is refused but by the system.
      refusals += block == nullptr ? 1 : 0;
      if (live.size() > 20) {
        slots().free(live.front());
        live.erase(live.begin());
      }
    }
    const bool met = FakeOs::failures() != 0;
    EXPECT_LE(refusals, met ? 1u : 0u);
    FakeOs::fail_call(0);
    for (char* block : live) {
      expect_fences(block, slots().size_of(block));
      slots().free(block);
    }
    expect_none_live();
    ASSERT_EQ(take_all(64).size(), kSlots - Slots::kLeastWaiting + 1);
    EXPECT_EQ(slots().totals().slots, kSlots);
    const WalkTotals walked = walk();
    EXPECT_EQ(walked.in_use, kSlots) << "spans in use that hold no slots";
    if (HasFailure() || !met) break;
    ASSERT_LT(nth, 5000u);
  }
  EXPECT_GT(nth, 150u) << "hardly any call is refused";
}

TEST_F(GuardedSlotsTest, WithEveryCallRefusedForAWhileNothingIsServedAndNothingLost) {
  for (const std::uint64_t nth : {1u, 2u, 3u, 4u, 6u, 9u, 40u, 70u, 71u, 72u}) {
    SCOPED_TRACE(nth);
    renew(nth);
    FakeOs::fail_call(nth, true);
    std::vector<char*> live;
    for (int i = 0; i < 200; ++i) {
      if (char* block = take(100)) live.push_back(block);
      if (i % 3 == 2 && !live.empty()) {
        slots().free(live.back());
        live.pop_back();
      }
    }
    EXPECT_LE(live.size(), nth);
    FakeOs::fail_call(0);
    for (char* block : live) slots().free(block);
    expect_none_live();
    EXPECT_GE(take_all(100).size(), kSlots - Slots::kLeastWaiting + 1);
  }
}

}  // namespace
}  // namespace carrel::core
