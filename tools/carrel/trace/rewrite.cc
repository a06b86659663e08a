// Trimming and anonymizing.
#include "trace/rewrite.h"

#include <algorithm>
#include <map>
#include <memory>
#include <system_error>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "trace/trace_reader.h"
#include "trace/trace_writer.h"

namespace carrel::tools {

namespace fs = std::filesystem;

namespace {

constexpr std::uint32_t kChunkEvents = 64 << 10;

// Threads' encoders over one writer. The new trace's clock is nanoseconds.
class Rewriter {
 public:
  Rewriter(const fs::path& output, const nlohmann::json& info) : writer_(output, info) {}

  void add(const Event& event, std::uint64_t time_ns, std::uint64_t address, std::uint32_t stack) {
    EventEncoder& encoder = encoders_[event.thread];
    std::uint64_t& last = last_[event.thread];
    if (last != time_ns + 1) {
      encoder.time(time_ns);
      last = time_ns + 1;
    }
    const unsigned log =
        event.alignment == 0 ? 0 : static_cast<unsigned>(__builtin_ctz(event.alignment));
    const bool about_thread = event.op >= Op::kThreadStart;
    encoder.event(event.op, about_thread ? event.other : address,
                  event.op == Op::kReallocBegin ? event.wanted : event.size, log, stack);
    if (encoder.events() >= kChunkEvents) writer_.events(event.thread, encoder);
    end_ = std::max(end_, time_ns);
  }

  TraceWriter& finish_events() {
    for (auto& [thread, encoder] : encoders_) writer_.events(thread, encoder);
    return writer_;
  }
  std::uint64_t end() const { return end_; }

 private:
  TraceWriter writer_;
  std::map<std::uint32_t, EventEncoder> encoders_;
  std::unordered_map<std::uint32_t, std::uint64_t> last_;
  std::uint64_t end_ = 0;
};

nlohmann::json facts_of(const TraceInfo& info) {
  return {{"command", info.command},
          {"executable", info.executable},
          {"pid", info.pid},
          {"started_unix_ns", info.started_unix_ns},
          {"clock_base", 0},
          {"ticks_per_ns", 1.0},
          {"has_stacks", info.has_stacks},
          {"stack_interval", info.stack_interval},
          {"allocator", to_json(info.allocator)},
          {"kernel", info.kernel},
          {"thp", info.thp},
          {"cpus", info.cpus},
          {"cpu_model", info.cpu_model},
          {"anonymized", info.anonymized}};
}

nlohmann::json end_of(const TraceInfo& info, std::uint64_t duration_ns, const TraceWriter& writer) {
  return {{"truncated", info.truncated},       {"truncated_why", info.truncated_why},
          {"exit_code", info.exit_code},       {"exit_signal", info.exit_signal},
          {"user_seconds", info.user_seconds}, {"system_seconds", info.system_seconds},
          {"waited_ns", info.waited_ns},       {"duration_ns", duration_ns},
          {"end_ticks", duration_ns},          {"raw_bytes", writer.raw_event_bytes()}};
}

void refuse_same(const fs::path& input, const fs::path& output) {
  std::error_code error;
  if (fs::equivalent(input, output, error)) {
    throw UserError("{} cannot be written over itself; choose another file with -o",
                    input.string());
  }
}

}  // namespace

RewriteResult trim_trace(const fs::path& input, const fs::path& output, double from_seconds,
                         double to_seconds) {
  refuse_same(input, output);
  TraceReader reader(input);
  TraceInfo info = reader.info();
  const auto from = static_cast<std::uint64_t>(from_seconds * 1e9);
  const auto to =
      to_seconds == 0 ? ~std::uint64_t{0} : static_cast<std::uint64_t>(to_seconds * 1e9);
  if (from >= info.duration_ns) {
    throw UserError("the trace lasts {:.3f} s; give an earlier --from",
                    static_cast<double>(info.duration_ns) * 1e-9);
  }
  Rewriter rewriter(output, facts_of(info));
  RewriteResult result;
  result.read = info.events;
  std::map<std::uint64_t, Event> live;  // by object, until the stretch begins
  std::map<std::uint32_t, Event> creations;
  std::map<std::uint32_t, Event> starts;
  bool begun = false;
  const auto begin = [&] {
    begun = true;
    result.made = creations.size() + starts.size() + live.size();
    for (const auto& [thread, event] : creations) rewriter.add(event, 0, 0, 0);
    for (const auto& [thread, event] : starts) rewriter.add(event, 0, 0, 0);
    for (auto& [object, event] : live) {
      if (event.op == Op::kReallocEnd) event.op = Op::kMalloc;
      rewriter.add(event, 0, event.address, event.stack);
    }
    live.clear();
  };
  Event event;
  while (reader.next(event)) {
    if (event.time_ns > to) break;
    if (event.time_ns >= from) {
      if (!begun) begin();
      // A lost object ends without an event of its own; its address begins again.
      if (event.op != Op::kLost) {
        rewriter.add(event, event.time_ns - from, event.address,
                     begins(event.op) ? event.stack : 0);
      }
      continue;
    }
    if (begins(event.op) && event.object != kNoObject) {
      live[event.object] = event;
    } else if (ends(event.op) && event.object != kNoObject) {
      live.erase(event.object);
    } else if (event.op == Op::kThreadStart) {
      starts[event.thread] = event;
    } else if (event.op == Op::kThreadCreate) {
      creations[event.other] = event;
    } else if (event.op == Op::kThreadExit) {
      starts.erase(event.thread);
      creations.erase(event.thread);
    }
  }
  if (!begun) begin();
  TraceWriter& writer = rewriter.finish_events();
  result.written = writer.event_count();
  std::vector<MemorySample> samples;
  for (MemorySample sample : reader.memory()) {
    if (sample.time_ns < from || sample.time_ns > to) continue;
    sample.time_ns -= from;
    samples.push_back(sample);
  }
  if (!samples.empty()) writer.memory(samples, {0, 0});
  std::vector<std::vector<std::uint64_t>> stacks;
  for (std::uint32_t i = 1; i <= reader.stack_count(); ++i) {
    const auto frames = reader.stack(i);
    stacks.emplace_back(frames.begin(), frames.end());
  }
  if (!stacks.empty()) writer.stacks(1, stacks);
  if (!reader.modules().empty()) writer.modules(reader.modules());
  if (to_seconds != 0 && to < info.duration_ns) {
    info.exit_code = -1;
    info.exit_signal = 0;
  }
  // The CPU time is that of the whole run.
  info.user_seconds = info.system_seconds = 0;
  writer.finish(
      end_of(info, std::max(rewriter.end(), std::min(to, info.duration_ns) - from), writer));
  return result;
}

RewriteResult anonymize_trace(const fs::path& input, const fs::path& output) {
  refuse_same(input, output);
  TraceReader reader(input);
  TraceInfo info = reader.info();
  info.command = {"anonymized"};
  info.executable.clear();
  info.pid = 0;
  info.started_unix_ns = 0;
  info.allocator.path = fs::path(info.allocator.path).filename().string();
  info.has_stacks = false;
  info.stack_interval = 0;
  info.anonymized = true;
  info.cpu_model.clear();
  info.kernel.clear();
  Rewriter rewriter(output, facts_of(info));
  RewriteResult result;
  result.read = info.events;
  // Addresses that were equal stay equal, and keep their place within a page.
  std::unordered_map<std::uint64_t, std::uint64_t> pages;
  const auto disguise = [&pages](std::uint64_t address) -> std::uint64_t {
    if (address == 0) return 0;
    const auto [found, added] =
        pages.try_emplace(address >> 12, (std::uint64_t{0x10000} + pages.size()) << 12);
    return found->second | (address & 0xfff);
  };
  Event event;
  while (reader.next(event)) {
    if (event.op == Op::kLost) continue;
    if (event.op == Op::kFork) event.other = 0;
    rewriter.add(event, event.time_ns, disguise(event.address), 0);
  }
  TraceWriter& writer = rewriter.finish_events();
  result.written = writer.event_count();
  if (!reader.memory().empty()) writer.memory(reader.memory(), {0, 0});
  writer.finish(end_of(info, info.duration_ns, writer));
  return result;
}

}  // namespace carrel::tools
