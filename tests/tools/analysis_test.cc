// The analyzer on events made by hand: each figure of the analysis document from a history short
// enough to count on one's fingers.
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "analysis/analyzer.h"
#include "analysis/symbols.h"

namespace carrel::tools {
namespace {

// Makes events the way the reader does: ends carry what began.
class History {
 public:
  std::uint64_t allocate(std::uint64_t ns, std::uint32_t thread, std::uint64_t size,
                         std::uint32_t stack = 0) {
    Event event;
    event.op = Op::kMalloc;
    event.time_ns = ns;
    event.thread = thread;
    event.size = size;
    event.stack = stack;
    event.object = born_.size();
    event.address = 0x1000 + event.object * 0x100;
    born_.push_back(event);
    analyzer.add(event);
    return event.object;
  }

  void release(std::uint64_t ns, std::uint32_t thread, std::uint64_t object) {
    analyzer.add(end(Op::kFree, ns, thread, object));
  }

  // Returns the new object, or the old one when refused.
  std::uint64_t resize(std::uint64_t ns, std::uint32_t thread, std::uint64_t object,
                       std::uint64_t size, bool refused = false) {
    Event begin = end(Op::kReallocBegin, ns, thread, object);
    begin.wanted = size;
    analyzer.add(begin);
    Event done;
    done.op = Op::kReallocEnd;
    done.time_ns = ns + 1;
    done.thread = thread;
    done.size = size;
    done.previous = object;
    done.object = refused ? object : born_.size();
    done.address = refused ? 0 : 0x1000 + done.object * 0x100;
    if (!refused) born_.push_back(done);
    analyzer.add(done);
    return done.object;
  }

  Analyzer analyzer;

 private:
  Event end(Op op, std::uint64_t ns, std::uint32_t thread, std::uint64_t object) {
    const Event& born = born_[object];
    Event event = born;
    event.op = op;
    event.time_ns = ns;
    event.thread = thread;
    event.born_ns = born.time_ns;
    event.born_thread = born.thread;
    return event;
  }

  std::vector<Event> born_;
};

TEST(Analyzer, CountsWhatIsLiveAndTheHighestOfIt) {
  History history;
  const auto first = history.allocate(100, 0, 1000);
  const auto second = history.allocate(200, 0, 500);
  history.release(300, 0, first);
  history.allocate(400, 0, 200);
  history.release(500, 0, second);
  history.analyzer.finish();
  const Totals& totals = history.analyzer.totals();
  EXPECT_EQ(totals.allocations, 3U);
  EXPECT_EQ(totals.frees, 2U);
  EXPECT_EQ(totals.allocated_bytes, 1700U);
  EXPECT_EQ(totals.peak_live_bytes, 1500U);
  EXPECT_EQ(totals.peak_live_blocks, 2U);
  EXPECT_EQ(totals.peak_at_ns, 200U);
  EXPECT_EQ(totals.live_bytes, 200U);
  EXPECT_EQ(totals.live_blocks, 1U);
}

TEST(Analyzer, TemporaryIsFreedBeforeTheThreadsNextAllocation) {
  History history;
  const auto brief = history.allocate(1, 0, 8);
  history.allocate(2, 1, 8);  // another thread's doesn't count
  history.release(3, 0, brief);
  const auto kept = history.allocate(4, 0, 8);
  history.allocate(5, 0, 8);
  history.release(6, 0, kept);
  EXPECT_EQ(history.analyzer.totals().temporary, 1U);
}

TEST(Analyzer, TellsWhoFreesWhoseBlocks) {
  History history;
  const auto a = history.allocate(1, 0, 8);
  const auto b = history.allocate(2, 1, 8);
  history.release(3, 1, a);
  history.release(4, 1, b);
  history.analyzer.finish();
  EXPECT_EQ(history.analyzer.totals().cross_thread_frees, 1U);
  const auto sections = history.analyzer.sections();
  const auto& count = sections.at("thread_frees").at("count");
  EXPECT_EQ(count[0][0], 0);
  EXPECT_EQ(count[0][1], 1);
  EXPECT_EQ(count[1][1], 1);
}

TEST(Analyzer, FoldsManyThreadsIntoOthersWithoutLosingAny) {
  History history;
  for (std::uint32_t thread = 0; thread < 100; ++thread) {
    for (std::uint32_t i = 0; i <= thread; ++i) {
      history.release(thread * 1000 + i * 2 + 1, thread,
                      history.allocate(thread * 1000 + i * 2, thread, 8));
    }
  }
  history.analyzer.finish();
  const auto sections = history.analyzer.sections();
  ASSERT_EQ(sections.at("threads").size(), 24U);
  EXPECT_EQ(sections.at("threads").back().at("name"), "77 others");
  std::uint64_t allocations = 0;
  std::uint64_t frees = 0;
  for (const auto& thread : sections.at("threads")) {
    allocations += thread.at("allocations").get<std::uint64_t>();
  }
  for (const auto& row : sections.at("thread_frees").at("count")) {
    for (const auto& value : row) frees += value.get<std::uint64_t>();
  }
  EXPECT_EQ(allocations, 5050U);
  EXPECT_EQ(frees, 5050U);
}

TEST(Analyzer, AReallocEndsOneBlockAndBeginsAnother) {
  History history;
  const auto small = history.allocate(1, 0, 100);
  const auto large = history.resize(10, 0, small, 300);
  history.release(20, 0, large);
  history.analyzer.finish();
  const Totals& totals = history.analyzer.totals();
  EXPECT_EQ(totals.allocations, 1U);
  EXPECT_EQ(totals.reallocations, 1U);
  EXPECT_EQ(totals.frees, 1U);
  EXPECT_EQ(totals.allocated_bytes, 400U);
  EXPECT_EQ(totals.peak_live_bytes, 300U);
  EXPECT_EQ(totals.live_bytes, 0U);
  EXPECT_EQ(totals.live_blocks, 0U);
}

TEST(Analyzer, ARefusedReallocLeavesTheBlockLive) {
  History history;
  const auto block = history.allocate(1, 0, 100, 7);
  history.resize(10, 0, block, std::uint64_t{1} << 60, /*refused=*/true);
  EXPECT_EQ(history.analyzer.totals().live_bytes, 100U);
  EXPECT_EQ(history.analyzer.totals().live_blocks, 1U);
  EXPECT_EQ(history.analyzer.totals().refused, 1U);
  EXPECT_EQ(history.analyzer.stacks().at(7).live_bytes, 100);
  history.release(20, 0, block);
  EXPECT_EQ(history.analyzer.totals().live_bytes, 0U);
}

TEST(Analyzer, StacksKnowWhatTheyHadAtTheProgramsPeak) {
  History history;
  const auto early = history.allocate(1, 0, 600, 1);
  history.allocate(2, 0, 100, 2);
  history.allocate(3, 0, 300, 3);  // the peak: 1000
  history.release(4, 0, early);
  const auto late = history.allocate(5, 0, 500, 2);  // 900: no new peak
  history.release(6, 0, late);
  history.analyzer.finish();
  const auto& stacks = history.analyzer.stacks();
  EXPECT_EQ(stacks.at(1).peak_bytes, 600);
  EXPECT_EQ(stacks.at(2).peak_bytes, 100);
  EXPECT_EQ(stacks.at(3).peak_bytes, 300);
  EXPECT_EQ(stacks.at(1).live_bytes, 0);
  EXPECT_EQ(stacks.at(2).bytes, 600);
  EXPECT_EQ(stacks.at(2).live_bytes, 100);
  EXPECT_EQ(stacks.at(2).temporary, 1);
}

TEST(Analyzer, SizesAndLifetimesLandInTheirClasses) {
  EXPECT_EQ(kSizeBounds[size_class_of(1)], 16U);
  EXPECT_EQ(kSizeBounds[size_class_of(16)], 16U);
  EXPECT_EQ(kSizeBounds[size_class_of(17)], 32U);
  EXPECT_EQ(size_class_of(std::uint64_t{1} << 40), kSizeClasses - 1);
  EXPECT_EQ(lifetime_class_of(999), 0U);
  EXPECT_EQ(lifetime_class_of(1000), 1U);
  EXPECT_EQ(lifetime_class_of(~std::uint64_t{0}), kNeverFreed - 1);
  History history;
  history.release(5'000, 0, history.allocate(0, 0, 20));  // 5 us
  history.allocate(6'000, 0, 20);                         // never freed
  history.analyzer.finish();
  const auto sections = history.analyzer.sections();
  const auto& row = sections.at("size_lifetime").at("allocations")[size_class_of(20)];
  EXPECT_EQ(row[1], 1);
  EXPECT_EQ(row[kNeverFreed], 1);
  EXPECT_EQ(sections.at("lifetimes").at("never_freed"), 1);
  EXPECT_EQ(sections.at("sizes").at("bytes")[size_class_of(20)], 40);
}

TEST(Analyzer, FreesOfBlocksFromBeforeTheTraceAreCountedApart) {
  Analyzer analyzer;
  Event event;
  event.op = Op::kFree;
  event.address = 0x5000;
  analyzer.add(event);
  EXPECT_EQ(analyzer.totals().unknown_frees, 1U);
  EXPECT_EQ(analyzer.totals().frees, 0U);
}

TEST(Timeline, KeepsPeaksHoweverLongTheTraceGrows) {
  Timeline timeline(100);
  timeline.live(0, 10, 1);
  timeline.live(500'000, 9'999, 7);  // half a millisecond in
  timeline.live(600'000, 10, 1);
  timeline.live(3'600'000'000'000, 20, 2);  // an hour later
  timeline.resident(1'000'000, 12'345);
  ASSERT_LE(timeline.steps().size(), 100U);
  EXPECT_EQ(timeline.steps().front().live_bytes, 9'999U);
  EXPECT_EQ(timeline.steps().front().live_blocks, 7U);
  EXPECT_EQ(timeline.steps().front().rss_bytes, 12'345U);
  EXPECT_EQ(timeline.steps()[timeline.steps().size() / 2].live_bytes, 10U);
  EXPECT_EQ(timeline.steps().back().live_bytes, 20U);
}

TEST(Symbols, NamesAreReadable) {
  EXPECT_EQ(demangled("_ZN3foo3barEi"), "foo::bar(int)");
  EXPECT_EQ(demangled("_ZN4core3fmt5write17h0123456789abcdefE"), "core::fmt::write");
  EXPECT_EQ(demangled("main"), "main");
}

TEST(Symbols, AnAddressOutsideEveryModuleIsItsNumber) {
  Symbols symbols({});
  EXPECT_EQ(symbols.of_return_address(0x1235).function, "0x1234");
}

}  // namespace
}  // namespace carrel::tools
