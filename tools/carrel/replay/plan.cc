// Making a plan in two passes: the first finds the blocks that cross threads and how much each
// thread does, the second writes.
#include "replay/plan.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "base/error.h"

namespace carrel::tools {

using plan::OpCode;
using plan::PlanHead;
using plan::PlanOp;
using plan::PlanThread;

namespace {

OpCode code_of(Op op) {
  switch (op) {
    case Op::kCalloc:
      return OpCode::kCalloc;
    case Op::kAligned:
      return OpCode::kAligned;
    case Op::kNew:
      return OpCode::kNew;
    case Op::kNewAligned:
      return OpCode::kNewAligned;
    case Op::kReallocBegin:
    case Op::kReallocEnd:
      return OpCode::kRealloc;
    case Op::kFree:
    case Op::kLost:
      return OpCode::kFree;
    case Op::kDelete:
      return OpCode::kDelete;
    case Op::kDeleteSized:
      return OpCode::kDeleteSized;
    case Op::kDeleteAligned:
      return OpCode::kDeleteAligned;
    case Op::kThreadCreate:
      return OpCode::kCreate;
    case Op::kThreadJoin:
      return OpCode::kJoin;
    default:
      return OpCode::kMalloc;
  }
}

struct Lane {
  std::uint32_t index = 0;  // in the plan
  std::uint64_t count = 0;
  std::uint64_t next = 0;  // op to be written
  std::uint64_t last_ns = 0;
  std::uint64_t start_ns = 0;
  bool seen = false;
  bool created = false;
  bool joined = false;
  std::vector<std::uint32_t> free_slots;
  // A realloc under way: its beginning.
  std::uint32_t old_slot = plan::kNoSlot;
  std::uint64_t old_size = 0;
  bool old_crosses = false;
};

// Both passes walk the events by the same rules; `Sink` counts or writes.
class Planner {
 public:
  Planner(TraceReader& reader, const PlanOptions& options) : reader_(reader), options_(options) {}

  PlanFacts make(const std::filesystem::path& path, const std::function<void(double)>& progress) {
    progress_ = progress;
    survey();
    layout(path);
    write();
    munmap(head_, head_->total_bytes);
    close(file_);
    return facts_;
  }

 private:
  Lane& lane(std::uint32_t thread) { return lanes_[thread]; }

  // One step of 2 * events: both passes.
  void tick() {
    if (!progress_ || (++ticks_ & 0xffff) != 0) return;
    const double all = 2 * static_cast<double>(std::max<std::uint64_t>(reader_.info().events, 1));
    progress_(std::min(1.0, static_cast<double>(ticks_) / all));
  }

  void mark_crossing(std::uint64_t object) {
    if (object >= crosses_.size()) crosses_.resize(object + 1 + crosses_.size() / 2);
    if (!crosses_[object]) ++facts_.crossing;
    crosses_[object] = true;
  }

  void survey() {
    reader_.rewind();
    std::uint64_t live = 0;
    Event event;
    while (reader_.next(event)) {
      tick();
      Lane& own = lane(event.thread);
      own.seen = true;
      if (event.op == Op::kThreadStart) own.start_ns = event.time_ns;
      if (event.op == Op::kThreadCreate || event.op == Op::kThreadJoin) {
        if (event.other == kNoThread || event.other == event.thread) continue;
        (event.op == Op::kThreadCreate ? lane(event.other).created : lane(event.other).joined) =
            true;
        ++own.count;
      } else if (begins(event.op)) {
        if (event.op == Op::kReallocEnd && event.address == 0) {
          if (event.object != kNoObject)
            live += event.size;  // refused: the old block lives on
          else if (event.previous != kNoObject)
            ++own.count;  // of size 0: a free
          continue;
        }
        if (event.object == kNoObject) continue;
        objects_ = std::max(objects_, event.object + 1);
        live += event.size;
        facts_.peak_live_bytes = std::max(facts_.peak_live_bytes, live);
        ++facts_.allocations;
        ++own.count;
      } else if (ends(event.op)) {
        if (event.object == kNoObject) {
          if (event.address != 0) ++facts_.skipped;
          continue;
        }
        live -= event.size;
        if (event.born_thread != event.thread) mark_crossing(event.object);
        if (event.op != Op::kReallocBegin) ++own.count;
      }
    }
    crosses_.resize(objects_);
  }

  void layout(const std::filesystem::path& path) {
    std::vector<std::uint32_t> order;
    for (const auto& [thread, lane] : lanes_) {
      if (lane.seen) order.push_back(thread);
    }
    std::sort(order.begin(), order.end());
    if (order.empty()) throw UserError("the trace holds no events; nothing can be replayed");
    for (std::uint32_t i = 0; i < order.size(); ++i) {
      Lane& one = lanes_[order[i]];
      one.index = i;
      one.next = facts_.ops;
      facts_.ops += one.count;
    }
    facts_.threads = static_cast<std::uint32_t>(order.size());
    // Never more slots than allocations; how many are needed shows as they are handed out.
    const std::uint64_t slots = facts_.allocations + 1;
    const auto align = [](std::uint64_t offset) { return (offset + 4095) / 4096 * 4096; };
    const std::uint64_t threads_offset = align(sizeof(PlanHead));
    const std::uint64_t ops_offset = align(threads_offset + order.size() * sizeof(PlanThread));
    const std::uint64_t slots_offset = align(ops_offset + facts_.ops * sizeof(PlanOp));
    const std::uint64_t total = align(slots_offset + (slots + order.size()) * 8);
    file_ = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    // Allocated, not only sized: a full disk is to be an error here, not a signal at some store.
    const int refused = file_ < 0 ? errno : posix_fallocate(file_, 0, static_cast<off_t>(total));
    if (refused != 0) {
      throw UserError("cannot make {}: {}; {} MiB are needed, set TMPDIR to where there is room",
                      path.string(), std::strerror(refused), (total >> 20) + 1);
    }
    void* const memory = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
    if (memory == MAP_FAILED) throw UserError("cannot map the plan: {}", std::strerror(errno));
    head_ = static_cast<PlanHead*>(memory);
    head_->magic = plan::kMagic;
    head_->total_bytes = total;
    head_->threads = facts_.threads;
    head_->touch = options_.touch;
    head_->real_pace = options_.real_pace ? 1 : 0;
    head_->ops = facts_.ops;
    head_->threads_offset = threads_offset;
    head_->ops_offset = ops_offset;
    head_->slots_offset = slots_offset;
    auto* const threads =
        reinterpret_cast<PlanThread*>(static_cast<char*>(memory) + threads_offset);
    for (const std::uint32_t thread : order) {
      const Lane& one = lanes_[thread];
      PlanThread& out = threads[one.index];
      out.first = one.next;
      out.count = one.count;
      // The first thread is the player's own, whoever made it.
      out.created = one.created && one.index != 0 ? 1 : 0;
      out.joined = one.joined && one.created && one.index != 0 ? 1 : 0;
      out.start_ns = one.start_ns;
    }
    ops_ = reinterpret_cast<PlanOp*>(static_cast<char*>(memory) + ops_offset);
  }

  PlanOp& add(Lane& own, const Event& event, OpCode code) {
    PlanOp& op = ops_[own.next++];
    op.code = code;
    op.to = plan::kNoSlot;
    const std::uint64_t from = own.last_ns == 0 ? own.start_ns : own.last_ns;
    const std::uint64_t gap = event.time_ns > from ? (event.time_ns - from) / 16 : 0;
    op.delta = static_cast<std::uint32_t>(std::min<std::uint64_t>(gap, ~std::uint32_t{0}));
    own.last_ns = event.time_ns;
    return op;
  }

  std::uint32_t new_slot(Lane& own, std::uint64_t object) {
    std::uint32_t slot = 0;
    if (!crosses_[object] && !own.free_slots.empty()) {
      slot = own.free_slots.back();
      own.free_slots.pop_back();
    } else {
      slot = next_slot_++;
    }
    slot_of_[object] = slot;
    return slot;
  }

  // The slot of a block that ends in `own`; free for other blocks of this thread if no other saw
  // it.
  std::uint32_t take_slot(Lane& own, std::uint64_t object) {
    const auto found = slot_of_.find(object);
    const std::uint32_t slot = found->second;
    slot_of_.erase(found);
    if (!crosses_[object]) own.free_slots.push_back(slot);
    return slot;
  }

  void write_end(Lane& own, const Event& event, OpCode code) {
    PlanOp& op = add(own, event, code);
    op.slot = take_slot(own, event.object);
    op.old_size = event.size;
    op.flags = crosses_[event.object] ? plan::kCrosses : 0;
  }

  void write_begin(Lane& own, const Event& event) {
    if (event.op == Op::kReallocEnd && event.address == 0) {
      if (event.object != kNoObject) {  // refused
        slot_of_[event.object] = own.old_slot;
        std::erase(own.free_slots, own.old_slot);
      } else if (event.previous != kNoObject) {
        PlanOp& op = add(own, event, OpCode::kFree);
        op.slot = own.old_slot;
        op.old_size = own.old_size;
        op.flags = own.old_crosses ? plan::kCrosses : 0;
      }
      return;
    }
    if (event.object == kNoObject) return;
    PlanOp& op = add(own, event, code_of(event.op));
    op.size = event.size;
    op.alignment_log =
        event.alignment == 0 ? 0 : static_cast<std::uint8_t>(__builtin_ctz(event.alignment));
    op.flags = crosses_[event.object] ? plan::kCrosses : 0;
    const std::uint32_t slot = new_slot(own, event.object);
    if (event.op != Op::kReallocEnd) {
      op.slot = slot;
      return;
    }
    op.to = slot;
    op.slot = event.previous != kNoObject ? own.old_slot : plan::kNoSlot;
    op.old_size = own.old_size;
  }

  void write() {
    reader_.rewind();
    Event event;
    while (reader_.next(event)) {
      tick();
      Lane& own = lane(event.thread);
      if (event.op == Op::kThreadCreate || event.op == Op::kThreadJoin) {
        if (event.other == kNoThread || event.other == event.thread) continue;
        write_thread(own, event);
      } else if (begins(event.op)) {
        write_begin(own, event);
      } else if (event.op == Op::kReallocBegin) {
        own.old_slot = plan::kNoSlot;
        own.old_size = 0;
        if (event.object == kNoObject) continue;
        own.old_size = event.size;
        own.old_crosses = crosses_[event.object];
        own.old_slot = take_slot(own, event.object);
      } else if (ends(event.op) && event.object != kNoObject) {
        write_end(own, event, code_of(event.op));
      }
    }
    head_->slots = next_slot_;
  }

  // A thread that was created and did nothing that was seen is no thread of the plan: its op
  // becomes one without effect.
  void write_thread(Lane& own, const Event& event) {
    const Lane& other = lane(event.other);
    PlanOp& op = add(own, event, code_of(event.op));
    const bool real = other.seen && other.index != 0 && other.created;
    if (!real) {
      op.code = OpCode::kFree;
      op.slot = plan::kNoSlot;
    } else {
      op.size = other.index;
    }
  }

  TraceReader& reader_;
  const PlanOptions options_;
  std::function<void(double)> progress_;
  PlanFacts facts_;
  std::uint64_t ticks_ = 0;
  std::uint64_t objects_ = 0;
  std::unordered_map<std::uint32_t, Lane> lanes_;
  std::vector<bool> crosses_;
  std::unordered_map<std::uint64_t, std::uint32_t> slot_of_;
  std::uint32_t next_slot_ = 0;
  int file_ = -1;
  PlanHead* head_ = nullptr;
  PlanOp* ops_ = nullptr;
};

}  // namespace

PlanFacts make_plan(TraceReader& reader, const PlanOptions& options,
                    const std::filesystem::path& path,
                    const std::function<void(double)>& progress) {
  Planner planner(reader, options);
  return planner.make(path, progress);
}

}  // namespace carrel::tools
