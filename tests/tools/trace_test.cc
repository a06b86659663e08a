// The trace format: what an encoder is given a decoder gives back, and a reader puts threads'
// events into an order in which no object ends before it begins.
#include "trace/trace_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "trace/encode.h"
#include "trace/trace_writer.h"

namespace carrel::tools {
namespace {

namespace fs = std::filesystem;

class Trace : public testing::Test {
 protected:
  Trace() : path_(fs::temp_directory_path() / ("carrel-test-" + std::to_string(getpid()))) {}
  ~Trace() override { fs::remove(path_); }

  static nlohmann::json info() {
    return {{"command", {"test"}}, {"clock_base", 0}, {"ticks_per_ns", 1.0}};
  }
  static nlohmann::json end() { return {{"exit_code", 0}, {"duration_ns", 1000}}; }

  std::vector<Event> read() {
    TraceReader reader(path_);
    std::vector<Event> events;
    for (Event event; reader.next(event);) events.push_back(event);
    notes_ = reader.notes();
    return events;
  }

  fs::path path_;
  ReadNotes notes_;
};

TEST_F(Trace, GivesBackWhatWasWritten) {
  std::mt19937_64 random(7);
  std::vector<RawEvent> given;
  EventEncoder encoder;
  encoder.time(1000);
  for (int i = 0; i < 20'000; ++i) {
    if (i % 10 == 0) encoder.time(1000 + static_cast<std::uint64_t>(i) * 3);
    RawEvent event;
    event.op = static_cast<Op>(1 + random() % 11);
    event.address = random() % 5 == 0 ? 0 : (random() % (std::uint64_t{1} << 47)) & ~7ull;
    if (random() % 7 == 0) event.address |= 3;
    if (event.op <= Op::kReallocBegin) event.size = random() >> (random() % 50 + 10);
    if (event.op == Op::kAligned || event.op == Op::kNewAligned) {
      event.alignment_log = static_cast<std::uint8_t>(random() % 30);
    }
    if (begins(event.op)) event.stack = static_cast<std::uint32_t>(random() % 3);
    given.push_back(event);
    encoder.event(event.op, event.address, event.size, event.alignment_log, event.stack);
  }
  const std::uint64_t first = encoder.first_ticks();
  const std::uint64_t last = encoder.last_ticks();
  format::Bytes bytes;
  encoder.finish(bytes);
  EventDecoder decoder(bytes, first, last, 1'000'000);
  std::vector<RawEvent> group;
  std::size_t at = 0;
  std::uint64_t ticks = 0;
  while (decoder.next(group)) {
    for (const RawEvent& event : group) {
      ASSERT_LT(at, given.size());
      EXPECT_EQ(event.op, given[at].op);
      EXPECT_EQ(event.address, given[at].address) << at;
      EXPECT_EQ(event.size, given[at].size) << at;
      EXPECT_EQ(event.alignment_log, given[at].alignment_log);
      EXPECT_EQ(event.stack, given[at].stack);
      EXPECT_GE(event.ticks, ticks);
      ticks = event.ticks;
      ++at;
    }
  }
  EXPECT_EQ(at, given.size());
}

// The clock says that the block ended before it began: the reader knows better.
TEST_F(Trace, ABlockNeverEndsBeforeItBegins) {
  TraceWriter writer(path_, info());
  EventEncoder first;
  first.time(500);
  first.event(Op::kMalloc, 0x1000, 24, 0, 0);
  EventEncoder second;
  second.time(400);
  second.event(Op::kFree, 0x1000, 0, 0, 0);
  second.event(Op::kMalloc, 0x1000, 48, 0, 0);
  writer.events(0, first);
  writer.events(1, second);
  writer.finish(end());
  const std::vector<Event> events = read();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].op, Op::kMalloc);
  EXPECT_EQ(events[0].thread, 0u);
  EXPECT_EQ(events[1].op, Op::kFree);
  EXPECT_EQ(events[1].object, events[0].object);
  EXPECT_EQ(events[1].size, 24u);
  EXPECT_EQ(events[1].born_thread, 0u);
  EXPECT_EQ(events[2].object, events[0].object + 1);
  EXPECT_EQ(notes_.lost_ends, 0u);
  EXPECT_EQ(notes_.unknown_ends, 0u);
}

TEST_F(Trace, ReallocEndsOneObjectAndBeginsAnother) {
  TraceWriter writer(path_, info());
  EventEncoder encoder;
  encoder.time(1);
  encoder.event(Op::kMalloc, 0x1000, 24, 0, 0);
  encoder.event(Op::kReallocBegin, 0x1000, 100, 0, 0);
  encoder.event(Op::kReallocEnd, 0x2000, 0, 0, 0);
  encoder.event(Op::kReallocBegin, 0x2000, 1 << 30, 0, 0);
  encoder.event(Op::kReallocEnd, 0, 0, 0, 0);  // refused
  encoder.event(Op::kFree, 0x2000, 0, 0, 0);
  writer.events(0, encoder);
  writer.finish(end());
  const std::vector<Event> events = read();
  ASSERT_EQ(events.size(), 6u);
  EXPECT_EQ(events[1].object, events[0].object);
  EXPECT_EQ(events[1].wanted, 100u);
  EXPECT_EQ(events[2].previous, events[0].object);
  EXPECT_EQ(events[2].size, 100u);
  EXPECT_EQ(events[4].object, events[2].object);
  EXPECT_EQ(events[5].object, events[2].object);
  EXPECT_EQ(events[5].size, 100u);
}

TEST_F(Trace, AnUnseenEndIsTold) {
  TraceWriter writer(path_, info());
  EventEncoder encoder;
  encoder.time(1);
  encoder.event(Op::kFree, 0x5000, 0, 0, 0);
  encoder.event(Op::kMalloc, 0x1000, 24, 0, 0);
  encoder.event(Op::kMalloc, 0x1000, 32, 0, 0);
  writer.events(0, encoder);
  writer.finish(end());
  const std::vector<Event> events = read();
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].object, kNoObject);
  EXPECT_EQ(events[2].op, Op::kLost);
  EXPECT_EQ(events[2].object, events[1].object);
  EXPECT_EQ(notes_.unknown_ends, 1u);
  EXPECT_EQ(notes_.lost_ends, 1u);
}

TEST_F(Trace, ADamagedChunkIsLeftOut) {
  {
    TraceWriter writer(path_, info());
    for (std::uint32_t thread = 0; thread < 2; ++thread) {
      EventEncoder encoder;
      encoder.time(1);
      for (std::uint64_t i = 1; i < 100; ++i) {
        encoder.event(Op::kMalloc, (thread + 1) * 0x100000 + i * 64, i, 0, 0);
      }
      writer.events(thread, encoder);
    }
    writer.finish(end());
  }
  std::uint64_t offset = 0;
  {
    std::ifstream file(path_, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    // The middle of the first chunk of events: behind the info chunk.
    format::ChunkHead head;
    std::memcpy(static_cast<void*>(&head), bytes.data() + sizeof(format::FileHead), sizeof(head));
    offset = sizeof(format::FileHead) + 2 * sizeof(head) + head.stored + 20;
  }
  {
    std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(offset));
    file.write("damage", 6);
  }
  EXPECT_EQ(read().size(), 99u);
  EXPECT_EQ(notes_.damaged_chunks, 1u);
}

// A checksum tells what was damaged, not what was made up.
TEST_F(Trace, NonsenseUnderARightChecksumIsLeftOut) {
  {
    nlohmann::json made_up = info();
    made_up["ticks_per_ns"] = 0.0;
    TraceWriter writer(path_, made_up);
    writer.stacks(0xffff0000, {{1, 2, 3}});
    for (std::uint32_t thread = 0; thread < 2; ++thread) {
      EventEncoder encoder;
      encoder.time(1);
      encoder.event(Op::kMalloc, (thread + 1) * 0x1000, 64, 0, 0);
      encoder.time(2);
      if (thread == 1) encoder.event(static_cast<Op>(24), 5, 0, 0, 0);
      writer.events(thread, encoder);
    }
    writer.finish(end());
  }
  const std::vector<Event> events = read();
  ASSERT_EQ(events.size(), 2u);
  for (const Event& event : events) EXPECT_LE(event.time_ns, 10u);
  EXPECT_EQ(notes_.damaged_chunks, 2u);
}

TEST_F(Trace, WordsThatAreNoTraceAreRefused) {
  std::ofstream(path_) << "not a trace, but long enough for a head";
  EXPECT_THROW(TraceReader reader(path_), UserError);
}

}  // namespace
}  // namespace carrel::tools
