// Reading a trace: its facts at once, its events thread by thread and merged.
//
// Merging. Each thread has a next event; the earliest of all is taken, if what it needs is so: the
// end of an object needs the object to live, the beginning at an address needs nobody to live
// there, a thread's start needs its creation. Otherwise its thread waits until another thread's
// event makes it so. The clock is exact to some microseconds only, therefore the wait; after
// kPatienceNs of the trace's time it is over, and the event is taken as it is.
#include "trace/trace_reader.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "trace/chunk_file.h"
#include "trace/encode.h"
#include "trace/live_map.h"
#include "trace/trace_writer.h"

namespace carrel::tools {

using format::Bytes;
using format::ChunkHead;
using format::ChunkKind;

namespace {

constexpr std::uint64_t kPatienceNs = 50'000'000;
constexpr std::uint64_t kGapNs = 20'000;
constexpr std::uint64_t kMostStacks = std::uint64_t{1} << 24;
// Of a clock that any machine has.
constexpr double kLeastTicksPerNs = 1e-4;
constexpr double kMostTicksPerNs = 1e4;
constexpr double kLongestNs = 1e18;

// What a thread waits for when it is no address: addresses never have these bits.
constexpr std::uint64_t kStartKey = std::uint64_t{1} << 62;
constexpr std::uint64_t kJoinKey = std::uint64_t{1} << 63;

// One thread's events in order.
struct Lane {
  std::uint32_t thread = 0;
  std::vector<const ChunkHead*> chunks;
  std::size_t next_chunk = 0;
  std::optional<EventDecoder> decoder;
  std::vector<RawEvent> group;
  std::size_t at = 0;
  // Between the two events of a realloc: the object that was resized, and the size asked for.
  LiveObject resized;
  std::uint64_t wanted = 0;
};

struct Turn {
  std::uint64_t ticks;
  std::uint32_t lane;
  bool operator>(const Turn& other) const {
    return ticks != other.ticks ? ticks > other.ticks : lane > other.lane;
  }
};

struct Waiting {
  std::uint64_t deadline;
  std::uint64_t ticks;
  std::uint64_t key;  // address, or thread number for a start
  std::uint32_t lane;
};

}  // namespace

struct TraceReader::State {
  explicit State(const std::filesystem::path& path) : file(path) {}

  ChunkFile file;
  TraceInfo info;
  std::vector<MemorySample> memory;
  std::vector<Module> modules;
  std::vector<std::uint64_t> frames;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> stacks;  // offset and length in frames
  std::vector<ClockPoint> clock;
  ReadNotes notes;

  std::vector<Lane> lanes;
  std::priority_queue<Turn, std::vector<Turn>, std::greater<>> turns;
  std::vector<Waiting> waiting;
  LiveMap live;
  std::unordered_set<std::uint32_t> created;
  std::unordered_set<std::uint32_t> unfinished;  // threads whose exit is still to come
  std::uint64_t objects = 0;
  std::uint64_t last_ns = 0;
  std::deque<Event> ready;

  double ticks_per_ns = 1;
  std::uint64_t base = 0;
  std::uint64_t damaged_facts = 0;  // chunks, found once
  std::uint64_t patience = 0;
  std::uint64_t gap = 0;

  void read_facts();
  void read_memory(const ChunkHead& head, const Bytes& raw);
  void read_stacks(const ChunkHead& head, const Bytes& raw);
  void read_info(const nlohmann::json& json);
  void read_end(const nlohmann::json& json);
  void set_clock();
  void start();
  bool fill(Lane& lane);
  bool step();
  bool may_take(const Lane& lane, const RawEvent& raw, std::uint64_t& key);
  void take(Lane& lane, const RawEvent& raw, bool forced);
  void advance(std::uint32_t lane);
  void wake(std::uint64_t key);

  std::uint64_t ns(std::uint64_t ticks) const {
    if (ticks <= base) return 0;
    return static_cast<std::uint64_t>(
        std::min(static_cast<double>(ticks - base) / ticks_per_ns, kLongestNs));
  }
};

void TraceReader::State::read_info(const nlohmann::json& json) {
  info.command = json.value("command", std::vector<std::string>{});
  info.executable = json.value("executable", "");
  info.pid = json.value("pid", std::int64_t{0});
  info.started_unix_ns = json.value("started_unix_ns", std::int64_t{0});
  info.kernel = json.value("kernel", "");
  info.thp = json.value("thp", "");
  info.cpus = json.value("cpus", 0u);
  info.cpu_model = json.value("cpu_model", "");
  info.has_stacks = json.value("has_stacks", false);
  info.stack_interval = json.value("stack_interval", std::uint64_t{0});
  info.anonymized = json.value("anonymized", false);
  if (json.contains("allocator")) info.allocator = library_from_json(json["allocator"]);
  base = json.value("clock_base", std::uint64_t{0});
  ticks_per_ns = json.value("ticks_per_ns", 1.0);
}

void TraceReader::State::read_end(const nlohmann::json& json) {
  info.complete = true;
  info.truncated = json.value("truncated", false);
  info.truncated_why = json.value("truncated_why", "");
  info.exit_code = json.value("exit_code", -1);
  info.exit_signal = json.value("exit_signal", 0);
  info.user_seconds = json.value("user_seconds", 0.0);
  info.system_seconds = json.value("system_seconds", 0.0);
  info.waited_ns = json.value("waited_ns", std::uint64_t{0});
  info.duration_ns = json.value("duration_ns", std::uint64_t{0});
  info.raw_bytes = json.value("raw_bytes", std::uint64_t{0});
  if (json.contains("end_ticks")) {
    clock.push_back({json["end_ticks"].get<std::uint64_t>(), info.duration_ns});
  }
}

void TraceReader::State::read_memory(const ChunkHead& head, const Bytes& raw) {
  const std::uint8_t* at = raw.data();
  const std::uint8_t* const end = at + raw.size();
  ClockPoint point;
  point.ticks = format::get_varint(at, end);
  point.ns = format::get_varint(at, end);
  if (point.ticks != 0) clock.push_back(point);
  MemorySample sample;
  for (std::uint32_t i = 0; i < head.events; ++i) {
    sample.time_ns += format::get_varint(at, end);
    sample.anon_bytes += static_cast<std::uint64_t>(format::unzigzag(format::get_varint(at, end)));
    sample.file_bytes += static_cast<std::uint64_t>(format::unzigzag(format::get_varint(at, end)));
    memory.push_back(sample);
  }
}

void TraceReader::State::read_stacks(const ChunkHead& head, const Bytes& raw) {
  const std::uint8_t* at = raw.data();
  const std::uint8_t* const end = at + raw.size();
  if (head.first > kMostStacks || head.events > raw.size()) {
    throw std::runtime_error("more stacks than there can be");
  }
  if (stacks.size() < head.first + head.events) stacks.resize(head.first + head.events);
  std::uint64_t pc = 0;
  for (std::uint32_t i = 0; i < head.events; ++i) {
    const std::uint64_t length = format::get_varint(at, end);
    if (length > static_cast<std::uint64_t>(end - at)) {
      throw std::runtime_error("a stack of the trace is cut short");
    }
    stacks[head.first + i] = {static_cast<std::uint32_t>(frames.size()),
                              static_cast<std::uint32_t>(length)};
    for (std::uint64_t f = 0; f < length; ++f) {
      pc += static_cast<std::uint64_t>(format::unzigzag(format::get_varint(at, end)));
      frames.push_back(pc);
    }
  }
}

void TraceReader::State::read_facts() {
  info.file_size = file.size();
  notes.missing_bytes = file.missing();
  stacks.emplace_back(0, 0);
  std::unordered_map<std::uint32_t, std::size_t> lane_of;
  Bytes raw;
  bool informed = false;
  for (const ChunkHead& head : file.chunks()) {
    if (head.kind == ChunkKind::kEvents) {
      const auto [found, added] = lane_of.try_emplace(head.thread, lanes.size());
      if (added) {
        lanes.emplace_back();
        lanes.back().thread = head.thread;
      }
      lanes[found->second].chunks.push_back(&head);
      info.events += head.events;
      info.raw_bytes += head.raw;
      continue;
    }
    if (!file.read(head, raw)) {
      ++damaged_facts;
      continue;
    }
    const auto json = [&raw] { return nlohmann::json::parse(raw.begin(), raw.end()); };
    switch (head.kind) {
      case ChunkKind::kInfo:
        read_info(json());
        informed = true;
        break;
      case ChunkKind::kEnd:
        read_end(json());
        break;
      case ChunkKind::kMemory:
      case ChunkKind::kStacks:
        try {
          head.kind == ChunkKind::kMemory ? read_memory(head, raw) : read_stacks(head, raw);
        } catch (const std::runtime_error&) {  // of format.h: not what the recorder writes
          ++damaged_facts;
        }
        break;
      case ChunkKind::kModules:
        for (const auto& entry : json()) {
          modules.push_back({entry.value("begin", std::uint64_t{0}),
                             entry.value("end", std::uint64_t{0}),
                             entry.value("offset", std::uint64_t{0}), entry.value("path", ""),
                             entry.value("build_id", "")});
        }
        break;
      default:
        break;
    }
  }
  if (!informed) throw UserError("the trace has no readable beginning; record it again");
  info.threads = static_cast<std::uint32_t>(lanes.size());
  if (!info.complete) {
    info.truncated = true;
    info.truncated_why = "the recorder did not close the file";
  }
  std::sort(modules.begin(), modules.end(), [](const Module& a, const Module& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.path < b.path;
  });
  set_clock();
}

void TraceReader::State::set_clock() {
  // The rate measured over the whole trace is better than the one from its first milliseconds.
  const ClockPoint* longest = nullptr;
  for (const ClockPoint& point : clock) {
    if (longest == nullptr || point.ticks > longest->ticks) longest = &point;
  }
  if (longest != nullptr && longest->ns > 1'000'000 && longest->ticks > base) {
    ticks_per_ns = static_cast<double>(longest->ticks - base) / static_cast<double>(longest->ns);
  }
  if (!(ticks_per_ns >= kLeastTicksPerNs && ticks_per_ns <= kMostTicksPerNs)) ticks_per_ns = 1;
  patience = static_cast<std::uint64_t>(static_cast<double>(kPatienceNs) * ticks_per_ns);
  gap = static_cast<std::uint64_t>(static_cast<double>(kGapNs) * ticks_per_ns);
  for (const Lane& lane : lanes) {
    info.duration_ns = std::max(info.duration_ns, ns(lane.chunks.back()->last));
  }
}

void TraceReader::State::start() {
  turns = {};
  waiting.clear();
  live.clear();
  created.clear();
  unfinished.clear();
  ready.clear();
  objects = 0;
  last_ns = 0;
  notes = ReadNotes{};
  notes.missing_bytes = file.missing();
  notes.damaged_chunks = damaged_facts;
  for (std::uint32_t i = 0; i < lanes.size(); ++i) {
    Lane& lane = lanes[i];
    lane.next_chunk = 0;
    lane.decoder.reset();
    lane.group.clear();
    lane.at = 0;
    lane.resized = LiveObject{};
    unfinished.insert(lane.thread);
    turns.push({lane.chunks.front()->first, i});
  }
}

// Makes lane.group[lane.at] the thread's next event; false at its end.
bool TraceReader::State::fill(Lane& lane) {
  while (lane.at == lane.group.size()) {
    lane.at = 0;
    try {
      if (lane.decoder && lane.decoder->next(lane.group)) return true;
    } catch (const std::runtime_error&) {
      ++notes.damaged_chunks;  // the rest of it is left out
    }
    lane.group.clear();
    lane.decoder.reset();
    if (lane.next_chunk == lane.chunks.size()) return false;
    const ChunkHead& head = *lane.chunks[lane.next_chunk++];
    Bytes raw;
    if (!file.read(head, raw)) {
      ++notes.damaged_chunks;
      continue;
    }
    try {
      lane.decoder.emplace(std::move(raw), head.first, head.last, gap);
    } catch (const std::runtime_error&) {
      ++notes.damaged_chunks;
    }
  }
  return true;
}

void TraceReader::State::advance(std::uint32_t index) {
  Lane& lane = lanes[index];
  // Usually the same thread's next event is again the earliest.
  while (waiting.empty() && fill(lane)) {
    const RawEvent raw = lane.group[lane.at];
    if (!turns.empty() && turns.top().ticks < raw.ticks) break;
    std::uint64_t key = 0;
    if (!may_take(lane, raw, key) || ready.size() > 64) break;
    ++lane.at;
    take(lane, raw, false);
  }
  if (fill(lane)) {
    turns.push({lane.group[lane.at].ticks, index});
  } else {
    lane.group = {};
    // A thread whose exit was not seen ends with its last event.
    if (unfinished.erase(lane.thread) != 0) wake(kJoinKey | lane.thread);
  }
}

bool TraceReader::State::may_take(const Lane& lane, const RawEvent& raw, std::uint64_t& key) {
  key = raw.address;
  if (raw.op == Op::kThreadJoin) {
    key = kJoinKey | raw.address;
    return unfinished.count(static_cast<std::uint32_t>(raw.address)) == 0;
  }
  if (raw.op == Op::kThreadStart) {
    key = kStartKey | lane.thread;
    return raw.address == kNoThread || created.count(lane.thread) != 0;
  }
  if (raw.op > Op::kDeleteAligned || raw.address == 0) return true;
  const bool lives = live.find(raw.address) != nullptr;
  if (raw.op == Op::kReallocBegin || raw.op >= Op::kFree) return lives;
  return !lives;
}

void TraceReader::State::wake(std::uint64_t key) {
  for (std::size_t i = 0; i < waiting.size();) {
    if (waiting[i].key == key) {
      turns.push({waiting[i].ticks, waiting[i].lane});
      waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(i));
      ++notes.reordered;
    } else {
      ++i;
    }
  }
}

void TraceReader::State::take(Lane& lane, const RawEvent& raw, bool forced) {
  Event event;
  // What waited is told at the time of what it waited for.
  event.time_ns = last_ns = std::max(last_ns, ns(raw.ticks));
  event.thread = lane.thread;
  event.op = raw.op;
  const auto end_of = [&event](const LiveObject& object) {
    event.object = object.object;
    event.size = object.size;
    event.born_ns = object.born_ns;
    event.born_thread = object.born_thread;
    event.stack = object.stack;
  };
  if (raw.op > Op::kDeleteAligned) {
    event.other = static_cast<std::uint32_t>(raw.address);
    if (raw.op == Op::kThreadCreate) created.insert(event.other);
    if (raw.op == Op::kThreadExit) unfinished.erase(lane.thread);
    // A creation of no thread only introduces the creating one.
    if (raw.op != Op::kThreadCreate || event.other != kNoThread) ready.push_back(event);
    return;
  }
  event.address = raw.address;
  if (raw.op == Op::kReallocBegin || (raw.op >= Op::kFree && raw.op <= Op::kDeleteAligned)) {
    LiveObject* const object = raw.address != 0 ? live.find(raw.address) : nullptr;
    if (raw.op == Op::kReallocBegin) {
      event.wanted = lane.wanted = raw.size;
      lane.resized = object != nullptr ? *object : LiveObject{};
    }
    if (object != nullptr) {
      end_of(*object);
      live.erase(object);
    } else if (raw.address != 0) {
      ++notes.unknown_ends;
    }
    ready.push_back(event);
    return;
  }
  std::uint64_t size = raw.size;
  if (raw.op == Op::kReallocEnd) {
    size = lane.wanted;
    if (lane.resized.address != 0) event.previous = lane.resized.object;
    if (raw.address == 0 && size != 0 && lane.resized.address != 0) {
      // Refused: the old block lives on, under its old number.
      end_of(lane.resized);
      if (live.find(lane.resized.address) == nullptr) live.insert(lane.resized);
      ready.push_back(event);
      return;
    }
  } else if (raw.op == Op::kAligned || raw.op == Op::kNewAligned) {
    event.alignment = std::uint32_t{1} << std::min<unsigned>(raw.alignment_log, 31);
  }
  event.size = size;
  event.stack = raw.stack;
  if (raw.address != 0) {
    if (forced) {
      if (LiveObject* const old = live.find(raw.address)) {
        Event lost = event;
        lost.op = Op::kLost;
        lost.previous = kNoObject;
        lost.alignment = 0;
        lost.object = old->object;
        lost.size = old->size;
        lost.born_ns = old->born_ns;
        lost.born_thread = old->born_thread;
        lost.stack = old->stack;
        live.erase(old);
        ++notes.lost_ends;
        ready.push_back(lost);
      }
    }
    event.object = objects++;
    live.insert({raw.address, event.object, size, event.time_ns, lane.thread, raw.stack});
  }
  ready.push_back(event);
}

// Takes one event of one thread, or lets its thread wait. False at the end of the trace.
bool TraceReader::State::step() {
  if (turns.empty() && waiting.empty()) return false;
  bool forced = false;
  Turn turn = {};
  const auto oldest =
      std::min_element(waiting.begin(), waiting.end(),
                       [](const Waiting& a, const Waiting& b) { return a.deadline < b.deadline; });
  if (oldest != waiting.end() && (turns.empty() || turns.top().ticks > oldest->deadline)) {
    turn = {oldest->ticks, oldest->lane};
    waiting.erase(oldest);
    forced = true;
  } else {
    turn = turns.top();
    turns.pop();
  }
  Lane& lane = lanes[turn.lane];
  if (!fill(lane)) return true;
  const RawEvent raw = lane.group[lane.at];
  std::uint64_t key = 0;
  if (!forced && !may_take(lane, raw, key)) {
    if (!(turns.empty() && waiting.empty())) {
      waiting.push_back({raw.ticks + patience, raw.ticks, key, turn.lane});
      return true;
    }
    forced = true;
  }
  ++lane.at;
  take(lane, raw, forced);
  if (!waiting.empty()) {
    if (raw.op == Op::kThreadCreate) {
      wake(kStartKey | raw.address);
    } else if (raw.op == Op::kThreadExit) {
      wake(kJoinKey | lane.thread);
    } else {
      wake(raw.address);
    }
    if (raw.op == Op::kReallocEnd && raw.address == 0) wake(lane.resized.address);
  }
  advance(turn.lane);
  return true;
}

TraceReader::TraceReader(const std::filesystem::path& path)
    : state_(std::make_unique<State>(path)) {
  try {
    state_->read_facts();
  } catch (const nlohmann::json::exception&) {
    throw UserError("{} holds facts that cannot be read; record it again", path.string());
  }
  state_->start();
}

TraceReader::~TraceReader() = default;
TraceReader::TraceReader(TraceReader&&) noexcept = default;
TraceReader& TraceReader::operator=(TraceReader&&) noexcept = default;

const TraceInfo& TraceReader::info() const { return state_->info; }
const std::vector<MemorySample>& TraceReader::memory() const { return state_->memory; }
const std::vector<Module>& TraceReader::modules() const { return state_->modules; }
const ReadNotes& TraceReader::notes() const { return state_->notes; }

std::span<const std::uint64_t> TraceReader::stack(std::uint32_t number) const {
  if (number >= state_->stacks.size()) return {};
  const auto [offset, length] = state_->stacks[number];
  return {state_->frames.data() + offset, length};
}

std::uint32_t TraceReader::stack_count() const {
  return static_cast<std::uint32_t>(state_->stacks.size()) - 1;
}

bool TraceReader::next(Event& event) {
  while (state_->ready.empty()) {
    if (!state_->step()) return false;
  }
  event = state_->ready.front();
  state_->ready.pop_front();
  return true;
}

void TraceReader::rewind() { state_->start(); }

}  // namespace carrel::tools
