// Stacks of timed calls, and the mappings that give their addresses names: see the header. Nothing
// here allocates; libgcc's unwinder may, at its first use, and such calls are not timed.
#include "advise/gauge/stacks.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <unwind.h>

#include <atomic>

#include "advise/gauge/gauge.h"

namespace carrel::tools::gauge {

namespace {

constexpr std::uint64_t kFirstInterval_ns = 10'000;
constexpr std::uint32_t kStacksPerInterval = 256;  // of a thread; then the interval doubles
constexpr int kMostFrames = 64;
constexpr std::size_t kMostRanges = 1024;
constexpr std::uint32_t kBetweenLooks = 64;  // stacks, where an address stays unknown

CallLog* log;

struct Range {
  std::uintptr_t begin;
  std::uintptr_t end;
};

// The code that the log has the mappings of. Guarded by `looking`, for which nobody waits: whoever
// finds it taken writes the stack without a look.
std::atomic<bool> looking{false};
Range ranges[kMostRanges];
std::size_t range_count;
std::uint32_t until_look;
char maps_text[48 << 10];

struct Frames {
  std::uint64_t pc[kMostFrames];
  int count;
};

_Unwind_Reason_Code on_frame(_Unwind_Context* context, void* data) {
  Frames& frames = *static_cast<Frames*>(data);
  const std::uintptr_t pc = _Unwind_GetIP(context);
  if (pc == 0 || frames.count == kMostFrames) return _URC_END_OF_STACK;
  frames.pc[frames.count++] = pc;
  return _URC_NO_REASON;
}

// The place for an entry of so many words, or null.
std::uint64_t* claim(std::uint64_t words) {
  if (log->used.load(std::memory_order_relaxed) + words > CallLog::kWords) return nullptr;
  const std::uint64_t at = log->used.fetch_add(words, std::memory_order_relaxed);
  return at + words <= CallLog::kWords ? log->words + at : nullptr;
}

// The head comes last. Release, and the reader's acquire, for a process that is still alive when
// the log is read.
void finish(std::uint64_t* place, Entry kind, std::uint64_t words) {
  const std::uint64_t head = static_cast<std::uint64_t>(kind) | words << 8 |
                             static_cast<std::uint64_t>(static_cast<std::uint32_t>(getpid())) << 32;
  __atomic_store_n(place, head, __ATOMIC_RELEASE);
}

// The system lists mappings by address.
bool is_known(std::uintptr_t pc) {
  std::size_t low = 0;
  for (std::size_t high = range_count; low < high;) {
    const std::size_t middle = low + (high - low) / 2;
    if (ranges[middle].end <= pc) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < range_count && ranges[low].begin <= pc;
}

std::uintptr_t hexadecimal(const char*& at) {
  std::uintptr_t value = 0;
  for (;; ++at) {
    const char c = *at;
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return value;
    value = value << 4 | static_cast<std::uintptr_t>(digit);
  }
}

// Keeps the lines of code in maps_text, from its start on, and learns their ranges. Returns how
// many bytes those are; what does not fit is left out.
std::size_t read_mappings() {
  const int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  range_count = 0;
  std::size_t kept = 0;
  std::size_t filled = 0;  // of a line that is not whole yet, behind what is kept
  for (;;) {
    const std::size_t room = sizeof maps_text - kept - filled;
    const ssize_t got = room == 0 ? 0 : read(file, maps_text + kept + filled, room);
    if (got <= 0) break;
    filled += static_cast<std::size_t>(got);
    char* line = maps_text + kept;
    char* const end = line + filled;
    while (char* newline =
               static_cast<char*>(memchr(line, '\n', static_cast<size_t>(end - line)))) {
      const char* at = line;
      const std::uintptr_t begin = hexadecimal(at);
      const std::uintptr_t stop = *at == '-' ? hexadecimal(++at) : 0;
      const std::size_t length = static_cast<std::size_t>(newline - line) + 1;
      if (stop > begin && newline - at > 4 && at[3] == 'x' && range_count < kMostRanges) {
        ranges[range_count++] = {begin, stop};
        memmove(maps_text + kept, line, length);
        kept += length;
      }
      line = newline + 1;
    }
    filled = static_cast<std::size_t>(end - line);
    memmove(maps_text + kept, line, filled);
  }
  close(file);
  return kept;
}

void look_at_mappings(const Frames& frames) {
  if (looking.exchange(true, std::memory_order_acquire)) return;
  bool all_known = true;
  for (int i = 0; i < frames.count; ++i) all_known = all_known && is_known(frames.pc[i]);
  if (all_known || (range_count != 0 && until_look-- != 0)) {
    looking.store(false, std::memory_order_release);
    return;
  }
  until_look = kBetweenLooks;
  const std::size_t bytes = read_mappings();
  const std::uint64_t words = 2 + (bytes + 7) / 8;
  if (std::uint64_t* const place = bytes == 0 ? nullptr : claim(words)) {
    place[1] = bytes;
    memcpy(place + 2, maps_text, bytes);
    finish(place, Entry::kMappings, words);
  }
  looking.store(false, std::memory_order_release);
}

void write_stack(std::uint64_t ns) {
  Frames frames;
  frames.count = 0;
  _Unwind_Backtrace(on_frame, &frames);
  look_at_mappings(frames);
  const std::uint64_t words = 2 + static_cast<std::uint64_t>(frames.count);
  std::uint64_t* const place = claim(words);
  if (place == nullptr) {
    log->dropped_ns.fetch_add(ns, std::memory_order_relaxed);
    return;
  }
  place[1] = ns;
  memcpy(place + 2, frames.pc, static_cast<std::size_t>(frames.count) * sizeof frames.pc[0]);
  finish(place, Entry::kStack, words);
}

void begin_program() {
  if (std::uint64_t* const place = claim(1)) finish(place, Entry::kProgram, 1);
}

}  // namespace

void start_stacks(CallLog* to) {
  log = to;
  if (log != nullptr) begin_program();
}

void start_stacks_in_child() {
  if (log == nullptr) return;
  // The child has the mappings too, but the log has them under its parent's name.
  range_count = 0;
  looking.store(false, std::memory_order_relaxed);
  self.stack_interval_ns = 0;
  begin_program();
}

std::uint64_t charge(std::uint64_t ns) {
  if (log == nullptr || self.walking != 0) return 0;
  if (self.stack_interval_ns == 0) {
    self.stack_interval_ns = kFirstInterval_ns;
    self.stacks_left = kStacksPerInterval;
    // The first mark lies anywhere in the first interval.
    self.until_stack_ns = 1 + self.random % kFirstInterval_ns;
  }
  if (ns < self.until_stack_ns) {
    self.until_stack_ns -= ns;
    return 0;
  }
  const std::uint64_t beyond = ns - self.until_stack_ns;
  const std::uint64_t marks = 1 + beyond / self.stack_interval_ns;
  const std::uint64_t stands_for = marks * self.stack_interval_ns;
  self.until_stack_ns = self.stack_interval_ns - beyond % self.stack_interval_ns;
  if (--self.stacks_left == 0) {
    self.stacks_left = kStacksPerInterval;
    self.stack_interval_ns *= 2;
    self.until_stack_ns *= 2;
  }
  const int before = errno;
  self.walking = 1;
  const std::uint64_t started_ns = clock_ns();
  write_stack(stands_for);
  const std::uint64_t took = clock_ns() - started_ns;
  self.walking = 0;
  errno = before;
  return took;
}

}  // namespace carrel::tools::gauge
