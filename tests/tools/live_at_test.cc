// LiveAt: the blocks that were live at a moment, whatever order the reader brings the threads'
// events in.
#include "resident/live_at.h"

#include <gtest/gtest.h>

namespace carrel::tools {
namespace {

Event begin(std::uint32_t thread, std::uint64_t object, std::uint64_t address) {
  Event event;
  event.op = Op::kMalloc;
  event.thread = thread;
  event.object = object;
  event.address = address;
  event.size = 100 + object;
  return event;
}

Event end(std::uint32_t thread, std::uint64_t object, std::uint64_t address, Op op = Op::kFree) {
  Event event = begin(thread, object, address);
  event.op = op;
  return event;
}

std::vector<std::uint64_t> objects(const LiveAt& live, std::size_t moment) {
  std::vector<std::uint64_t> out;
  for (const LiveObject& block : live.blocks(moment)) out.push_back(block.object);
  return out;
}

using Objects = std::vector<std::uint64_t>;
using Moments = std::vector<LiveAt::Moment>;

TEST(LiveAt, CountsEachThreadsEventsByItself) {
  // At the moment thread 0 had done two things and thread 1 one; the reader lets 0 run ahead.
  LiveAt live(Moments{{2, 1}});
  live.add(begin(0, 0, 0x1000));
  live.add(begin(0, 1, 0x2000));
  live.add(end(0, 0, 0x1000));
  live.add(begin(0, 2, 0x3000));
  live.add(begin(1, 3, 0x4000));
  live.add(end(1, 3, 0x4000));
  EXPECT_EQ(objects(live, 0), (Objects{0, 1, 3}));
}

TEST(LiveAt, KnowsAThreadThatCameLater) {
  LiveAt live(Moments{{1}, {1, 1}});
  live.add(begin(0, 0, 0x1000));
  live.add(begin(1, 1, 0x2000));
  EXPECT_EQ(objects(live, 0), (Objects{0}));
  EXPECT_EQ(objects(live, 1), (Objects{0, 1}));
}

TEST(LiveAt, CountsOnlyWhatIsAboutBlocks) {
  LiveAt live(Moments{{1}});
  Event start;
  start.op = Op::kThreadStart;
  live.add(start);
  live.add(begin(0, 0, 0x1000));
  live.add(end(0, 0, 0x1000));
  EXPECT_EQ(objects(live, 0), (Objects{0}));
}

TEST(LiveAt, ARefusedResizeLeavesTheBlock) {
  LiveAt live(Moments{{3}});
  live.add(begin(0, 0, 0x1000));
  live.add(end(0, 0, 0x1000, Op::kReallocBegin));
  Event refused = begin(0, 0, 0);
  refused.op = Op::kReallocEnd;
  live.add(refused);
  ASSERT_EQ(live.blocks(0).size(), 1U);
  EXPECT_EQ(live.blocks(0)[0].address, 0x1000U);
}

TEST(LiveAt, AResizeOfNothingEndsNothing) {
  LiveAt live(Moments{{4000}});
  for (std::uint64_t i = 0; i < 2000; ++i) {
    Event nothing = begin(0, kNoObject, 0);
    nothing.op = Op::kReallocBegin;
    live.add(nothing);
    Event made = begin(0, i, 0x1000 + 64 * i);
    made.op = Op::kReallocEnd;
    live.add(made);
  }
  EXPECT_EQ(live.blocks(0).size(), 2000U);
}

TEST(LiveAt, ABlockWhoseEndWasLostGivesWayToTheNext) {
  // The end that the reader made is none of the thread's own events.
  LiveAt live(Moments{{1, 1}});
  live.add(begin(0, 0, 0x1000));
  live.add(end(1, 0, 0x1000, Op::kLost));
  live.add(begin(1, 1, 0x1000));
  EXPECT_EQ(objects(live, 0), (Objects{1}));
}

TEST(LiveAt, IsWholeWhenTheTraceEndsAtTheMoment) {
  LiveAt live(Moments{{2}});
  live.add(begin(0, 0, 0x2000));
  live.add(begin(0, 1, 0x1000));
  EXPECT_EQ(objects(live, 0), (Objects{1, 0}));  // by address
}

}  // namespace
}  // namespace carrel::tools
