// What is said when the process is about to end by an error: of a memory fault at a fence, which
// block it has to do with; and, if option report_stacks asks for them, the stacks. See
// docs/SECURITY.md for how they look.
//
// Runs in a signal's handler, or wherever a misuse was noticed: takes no lock, does not allocate,
// and needs little stack. What was found out so far is written before anything is looked at that
// may be damaged.
#include "api/reports.h"

#include <errno.h>

#include "api/instance.h"
#include "api/own_code.h"
#include "heap/faults.h"

namespace carrel::core {

void ProcessTls::memory_fault(const MemoryFault& fault) {
  FaultedBlock block;
  if (process_heap.explain_fault(fault.address, block)) report_fault<ProcessOs>(fault, block);
}

namespace {

constexpr std::size_t kMostReportFrames = 64;

/// One frame, looked up.
struct ReportFrame {
  std::uintptr_t address;
  std::uintptr_t in_file;  // what addr2line takes
  char path[200];
};

// For the one report that a process makes.
struct ReportState {
  CodeRange own;
  std::size_t prefix_size = 0;
  char prefix[512];
  const void* read[kMostReportFrames + 16];
  ReportFrame frames[kMostReportFrames];
  std::size_t count;
};
constinit ReportState report_state{};
constinit std::atomic<bool> report_begun{false};

/// The standard error's or a new file's number.
long open_report(std::uint32_t where) {
  if (where == 1) return 2;
  const TextView prefix(report_state.prefix, report_state.prefix_size);
  long file = -EEXIST;
  for (std::uint64_t i = 0; i < 100 && file == -EEXIST; ++i) {
    TextBuffer<600> name;
    name << prefix << "." << ProcessOs::process_id();
    if (i != 0) name << "." << i;
    name << ".report";
    file = ProcessOs::create_file(name.data(), true);
  }
  return file;
}

void look_up(void*, const ProcessOs::CodeMapping& mapping) {
  for (std::size_t i = 0; i < report_state.count; ++i) {
    ReportFrame& frame = report_state.frames[i];
    if (frame.address < mapping.start || frame.address >= mapping.end) continue;
    frame.in_file = frame.address - mapping.bias;
    std::size_t size = mapping.path_size;
    if (size > sizeof frame.path - 1) size = sizeof frame.path - 1;
    memcpy(frame.path, mapping.path, size);
    frame.path[size] = '\0';
  }
}

/// Writes return addresses, of which the first is an instruction's if `exact`: each as it is, and
/// the call before it as an address in its file.
void write_stack(long file, const char* title, const void* const* addresses, std::size_t count,
                 bool exact) {
  if (count > kMostReportFrames) count = kMostReportFrames;
  report_state.count = count;
  for (std::size_t i = 0; i < count; ++i) {
    const bool call = i != 0 || !exact;
    report_state.frames[i].address = address_of(addresses[i]) - (call ? 1 : 0);
    report_state.frames[i].path[0] = '\0';
  }
  ProcessOs::for_each_code_mapping(look_up, nullptr);
  TextBuffer<320> line;
  line << title << (count == 0 ? ": no stack\n" : ":\n");
  ProcessOs::write_file(file, line.data(), line.size());
  for (std::size_t i = 0; i < count; ++i) {
    const ReportFrame& frame = report_state.frames[i];
    line.clear();
    line << "  #" << std::uint64_t{i} << " " << addresses[i];
    if (frame.path[0] != '\0') {
      line << " " << frame.path << "+" << at_address<const void>(frame.in_file);
    }
    line << "\n";
    ProcessOs::write_file(file, line.data(), line.size());
  }
}

/// The calling thread's stack: in a signal's handler from the instruction that led there.
void write_own_stack(long file, const Reported& report) {
  const void** frames = report_state.read;
  const std::size_t count = ProcessOs::stack_trace(frames, kMostReportFrames + 16);
  std::size_t first = 0;
  if (report.code != nullptr) {
    while (first < count && frames[first] != report.code) ++first;
    if (first == count) return write_stack(file, "touched here", &report.code, 1, true);
    return write_stack(file, "touched here", frames + first, count - first, true);
  }
  const CodeRange& own = report_state.own;
  while (first < count && address_of(frames[first]) - own.start < own.end - own.start) ++first;
  write_stack(file, "noticed here", frames + first, count - first, false);
}

void write_stacks(const Reported& report) {
  if (report_begun.exchange(true)) return;
  const std::uint32_t where = process_heap.options().report_stacks;
  const long file = open_report(where);
  if (file < 0) return;
  if (where != 1) ProcessOs::write_file(file, report.line, report.line_size);
  FaultedBlock block;
  if (report.pointer != nullptr && process_heap.explain_fault(report.pointer, block) &&
      block.slot != nullptr) {
    const GuardedSlot& slot = *block.slot;
    write_stack(file, "allocated here", slot.allocated.frames, slot.allocated.depth, false);
    if (slot.freed.depth != 0)
      write_stack(file, "freed here", slot.freed.frames, slot.freed.depth, false);
  }
  write_own_stack(file, report);
  if (where != 1) ProcessOs::close_file(file);
}

}  // namespace

void start_report_stacks() {
  if (after_report.load(std::memory_order_relaxed) != nullptr) return;
  ReportState& state = report_state;
  state.prefix_size =
      ProcessOs::environment("CARREL_REPORT_PREFIX", state.prefix, sizeof state.prefix);
  if (state.prefix_size == 0) {
    state.prefix_size = TextView("carrel").size;
    memcpy(state.prefix, "carrel", state.prefix_size);
  }
  state.own = own_code();
  if (ProcessOs::load_unwinder()) {
    process_heap.guarded_slots().set_stack_reader(&ProcessOs::stack_trace, state.own.start,
                                                  state.own.end);
  } else {
    constexpr TextView kLine("carrel: report_stacks: this program has no unwinder: no stacks\n");
    ProcessOs::write_stderr(kLine.data, kLine.size);
  }
  after_report.store(write_stacks, std::memory_order_release);
}

}  // namespace carrel::core
