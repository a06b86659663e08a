// The hook's slow paths: attaching to the recorder, claiming and submitting blocks, stamps,
// threads' beginnings and ends, fork, and stacks. Runs in the recorded program; see record.h for
// the rules.
#include "hook/record.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <unwind.h>

#ifdef CARREL_HOOK_LINKED
// Weak: a C program that doesn't ask for the unwinder is recorded without stacks.
#pragma weak _Unwind_Backtrace
#pragma weak _Unwind_GetIP
#endif

namespace carrel::tools::hook {

using channel::BlockHead;
using channel::BlockState;
using channel::Control;
using channel::Process;
using channel::ProcessState;

constinit thread_local ThreadState thread_state;
Control* mapped = nullptr;
constinit std::atomic<bool> recording{false};
bool take_stacks = false;

namespace {

std::uint32_t process_index = 0;
pthread_key_t exit_key;
bool exit_key_made = false;

// How long a thread waits for a recorder whose tick does not move before it gives up.
constexpr std::uint64_t kSilence = 10'000'000'000;
constexpr int kMaxFrames = 64;
// How long the process waits at its end for the recorder to look at its mappings and its heap.
constexpr std::uint64_t kLongestGoodbye = 2'000'000'000;

std::uint64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

std::uint64_t clock_now() {
#if defined(__x86_64__)
  if (mapped->clock == channel::ClockKind::kCounter) return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  if (mapped->clock == channel::ClockKind::kCounter) {
    std::uint64_t value;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
    return value;
  }
#endif
  return monotonic_ns();
}

void futex_wake(std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t seen, long nanoseconds) {
  const timespec limit = {0, nanoseconds};
  syscall(SYS_futex, &word, FUTEX_WAIT, seen, &limit, nullptr, 0);
}

Process& self() { return mapped->processes[process_index]; }

// Withdraws this process: what was recorded so far stays, nothing more is added.
void give_up() {
  self().state.store(ProcessState::kGaveUp, std::memory_order_release);
  end_recording();
}

// Waits until `enough()` or the recorder is stopped or silent; false in the latter cases.
template <typename Condition>
bool wait_for_recorder(Condition enough) {
  const std::uint64_t began = monotonic_ns();
  std::uint64_t moved = began;
  std::uint32_t tick = mapped->tick.load(std::memory_order_relaxed);
  bool ok = true;
  for (;;) {
    const std::uint32_t seen = mapped->drained.load(std::memory_order_acquire);
    if (enough()) break;
    if (mapped->stop.load(std::memory_order_relaxed) != 0) {
      ok = false;
      break;
    }
    futex_wake(mapped->sleeping);
    futex_wait(mapped->drained, seen, 20'000'000);
    const std::uint64_t now = monotonic_ns();
    const std::uint32_t present = mapped->tick.load(std::memory_order_relaxed);
    if (present != tick) {
      tick = present;
      moved = now;
    } else if (now - moved > kSilence) {
      give_up();
      ok = false;
      break;
    }
  }
  self().waited_ns.fetch_add(monotonic_ns() - began, std::memory_order_relaxed);
  return ok;
}

// While the recorder looks at the heap, it must not change: a thread that comes to the allocator
// waits before its call. Not for longer than any look takes; and a recorder whose tick stands still
// is gone: then the process records no more.
void wait_while_paused() {
  constexpr std::uint64_t kLongestLook = 5'000'000'000;
  constexpr std::uint64_t kStandstill = 2'000'000'000;
  const int error = errno;
  const std::uint64_t began = monotonic_ns();
  std::uint64_t moved = began;
  std::uint32_t tick = mapped->tick.load(std::memory_order_relaxed);
  for (std::uint64_t now = began; now - began < kLongestLook; now = monotonic_ns()) {
    if (self().paused.load(std::memory_order_acquire) == 0 ||
        mapped->stop.load(std::memory_order_relaxed) != 0) {
      break;
    }
    const std::uint32_t present = mapped->tick.load(std::memory_order_relaxed);
    if (present != tick) {
      tick = present;
      moved = now;
    } else if (now - moved > kStandstill) {
      give_up();
      break;
    }
    futex_wait(self().paused, 1, 20'000'000);
  }
  self().waited_ns.fetch_add(monotonic_ns() - began, std::memory_order_relaxed);
  errno = error;
}

// The lowest free block, so that few are ever touched; kMaxBlocks when there is none.
std::uint32_t claim_block() {
  for (std::uint32_t group = 0; group * 64 < mapped->block_count; ++group) {
    std::uint64_t bits = mapped->free_blocks[group].load(std::memory_order_relaxed);
    while (bits != 0) {
      const std::uint64_t bit = bits & -bits;
      // Acquire pairs with the recorder's release: the block has been cleared.
      if (mapped->free_blocks[group].compare_exchange_weak(bits, bits & ~bit,
                                                           std::memory_order_acquire)) {
        return group * 64 + static_cast<std::uint32_t>(__builtin_ctzll(bit));
      }
    }
  }
  return channel::kMaxBlocks;
}

void submit(ThreadState& thread) {
  mapped->heads[thread.block].state.store(BlockState::kFull, std::memory_order_release);
  thread.cursor = thread.soft = thread.end = nullptr;
  const std::uint32_t full = mapped->full.fetch_add(1, std::memory_order_relaxed) + 1;
  if (full % 8 == 0 && mapped->sleeping.load(std::memory_order_relaxed) != 0) {
    futex_wake(mapped->sleeping);
  }
}

void on_thread_exit(void* value);

void introduce(ThreadState& thread) {
  if (!thread.known) {
    thread.number = self().threads.fetch_add(1, std::memory_order_relaxed);
    thread.parent = kNoThread;
    thread.known = 1;
  }
  thread.random = (static_cast<std::uint64_t>(thread.number) + 1) * 0x9e3779b97f4a7c15;
  thread.until_stack = static_cast<std::int64_t>(mapped->stack_interval);
  if (exit_key_made) pthread_setspecific(exit_key, &thread);
}

bool new_block(ThreadState& thread) {
  if (mapped->full.load(std::memory_order_relaxed) >= channel::kMostFull && !wait_for_recorder([] {
        return mapped->full.load(std::memory_order_relaxed) < channel::kMostFull / 2;
      })) {
    return false;
  }
  std::uint32_t block = claim_block();
  if (block == channel::kMaxBlocks &&
      !wait_for_recorder([&block] { return (block = claim_block()) != channel::kMaxBlocks; })) {
    return false;
  }
  BlockHead& head = mapped->heads[block];
  head.process = process_index;
  head.thread = thread.number;
  head.sequence = thread.sequence++;
  head.system_id = static_cast<std::uint32_t>(syscall(SYS_gettid));
  // Release: whoever sees the block owned sees whose it is.
  head.state.store(BlockState::kOwned, std::memory_order_release);
  thread.block = block;
  thread.cursor = channel::block_words(mapped, block);
  thread.end = thread.cursor + channel::kBlockWords;
  return true;
}

void stamp(ThreadState& thread, std::uint32_t tick) {
  thread.tick = tick;
  put(thread, (clock_now() << 5) | channel::kWordTime);
  std::uint64_t* const due = thread.cursor + channel::kWordsPerStamp;
  thread.soft = due < thread.end ? due : thread.end;
}

bool claim_process(std::int32_t parent) {
  const std::uint32_t index = mapped->process_count.fetch_add(1, std::memory_order_relaxed);
  if (index >= channel::kMaxProcesses) return false;
  process_index = index;
  Process& process = mapped->processes[index];
  process.parent = parent;
  process.pid.store(getpid(), std::memory_order_relaxed);
  if (parent >= 0) {
    const Process& before = mapped->processes[parent];
    memcpy(process.allocator, before.allocator, sizeof(process.allocator));
    memcpy(process.allocator_name, before.allocator_name, sizeof(process.allocator_name));
    process.linked_in = before.linked_in;
  } else {
    name_allocator(process);
  }
  process.state.store(ProcessState::kAttached, std::memory_order_release);
  return true;
}

void count_inert() {
  mapped->inert_count.fetch_add(1, std::memory_order_relaxed);
  const std::uint32_t place = mapped->name_count.fetch_add(1, std::memory_order_relaxed);
  if (place >= channel::kMaxNames) return;
  const int fd = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  char* const name = mapped->names[place];
  const ssize_t length = read(fd, name, sizeof(mapped->names[0]) - 1);
  for (ssize_t i = 0; i < length; ++i) {
    if (name[i] == '\n') name[i] = 0;
  }
  close(fd);
}

// In a forked child: this thread's block is the parent's, the child may have none of it.
void after_fork_in_child() {
  if (mapped == nullptr) return;
  ThreadState& thread = thread_state;
  const std::int32_t parent = static_cast<std::int32_t>(process_index);
  const bool was_recording = is_recording();
  thread = ThreadState{};
  end_recording();
  if (!was_recording) return;
  if (mapped->follow_fork != 0 && claim_process(parent)) {
    recording.store(true, std::memory_order_relaxed);
  } else {
    count_inert();
  }
}

void on_thread_exit(void* value) {
  ThreadState& thread = *static_cast<ThreadState*>(value);
  // Other libraries' destructors may still free: come last, as far as the system lets one.
  if (++thread.exit_rounds < 3) {
    pthread_setspecific(exit_key, value);
    return;
  }
  if (!is_recording() || thread.end == nullptr) return;
  note_exactly(Op::kThreadExit, 0);
  thread.ended = 1;
  if (thread.end != nullptr) submit(thread);
}

Control* map_channel(const char* path) {
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  struct stat status;
  void* memory = MAP_FAILED;
  if (fstat(fd, &status) == 0 && static_cast<std::size_t>(status.st_size) > sizeof(Control)) {
    memory = mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_NORESERVE, fd, 0);
  }
  close(fd);
  if (memory == MAP_FAILED) return nullptr;
  Control* const found = static_cast<Control*>(memory);
  if (found->magic != channel::kMagic || found->version != channel::kVersion) {
    munmap(memory, static_cast<std::size_t>(status.st_size));
    return nullptr;
  }
  return found;
}

struct Frames {
  std::uintptr_t pc[kMaxFrames];
  int count;
  int skip;
};

_Unwind_Reason_Code on_frame(_Unwind_Context* context, void* data) {
  Frames& frames = *static_cast<Frames*>(data);
  if (frames.skip > 0) {
    --frames.skip;
    return _URC_NO_REASON;
  }
  const std::uintptr_t pc = _Unwind_GetIP(context);
  if (pc == 0 || frames.count == kMaxFrames) return _URC_END_OF_STACK;
  frames.pc[frames.count++] = pc;
  return _URC_NO_REASON;
}

// -log(u) for u uniform in (0, 1], times `mean`: distances between points strewn at random. Without
// libm: the exponent by counting zeros, the mantissa by a short series.
std::int64_t random_distance(ThreadState& thread, std::uint64_t mean) {
  std::uint64_t x = thread.random;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  thread.random = x;
  const std::uint64_t bits = (x * 0x2545f4914f6cdd1d) | 1;
  const int zeros = __builtin_clzll(bits);
  // bits = m * 2^(63 - zeros), 1 <= m < 2; -ln(u) = (zeros + 1) ln 2 - ln m.
  const double m = static_cast<double>(bits << zeros) * 0x1p-63;
  const double y = (m - 1) / (m + 1);
  const double y2 = y * y;
  const double ln_m = 2 * y * (1 + y2 * (1.0 / 3 + y2 * (1.0 / 5 + y2 * (1.0 / 7 + y2 / 9))));
  const double distance = ((zeros + 1) * 0.6931471805599453 - ln_m) * static_cast<double>(mean);
  return static_cast<std::int64_t>(distance) + 1;
}

}  // namespace

bool make_room(ThreadState& thread, std::size_t words) {
  if (mapped->stop.load(std::memory_order_relaxed) != 0) {
    end_recording();
    return false;
  }
  // Before the look at the gate: a gate that is closed after this look comes with a later tick,
  // and the next word sees it. Acquire pairs with the release in Session::tick.
  const std::uint32_t tick = mapped->tick.load(std::memory_order_acquire);
  if (self().paused.load(std::memory_order_acquire) != 0) {
    wait_while_paused();
    if (!is_recording()) return false;
  }
  const bool first = thread.sequence == 0 && thread.end == nullptr;
  if (first) introduce(thread);
  if (thread.end == nullptr || thread.cursor + words + 3 > thread.end) {
    if (thread.end != nullptr) submit(thread);
    if (!new_block(thread)) return false;
  }
  stamp(thread, tick);
  if (first) {
    put(thread, (std::uint64_t{thread.parent} << 16) | static_cast<unsigned>(Op::kThreadStart));
  }
  // A thread past its end has nobody to submit its block: the recorder takes it when the thread is
  // gone.
  return true;
}

void take_stack(ThreadState& thread, std::uint64_t size) {
  thread.until_stack -= static_cast<std::int64_t>(size == 0 ? 1 : size);
  if (thread.until_stack > 0 || thread.in_stack) return;
  const std::uint64_t interval = mapped->stack_interval;
  if (interval == 0) {
    thread.until_stack = 0;
  } else {
    // A large block may hold several points; each block is sampled once.
    while (thread.until_stack <= 0) thread.until_stack += random_distance(thread, interval);
  }
  thread.in_stack = 1;
  Frames frames;
  frames.count = 0;
  frames.skip = 2;
  _Unwind_Backtrace(on_frame, &frames);
  for (int i = 0; i < frames.count; ++i) {
    if (!room(thread, 1)) break;
    put(thread, (std::uint64_t{frames.pc[i]} << 16) | channel::kWordFrame);
  }
  thread.in_stack = 0;
}

void thread_started(std::uint32_t number, std::uint32_t parent) {
  if (!is_recording()) return;
  ThreadState& thread = thread_state;
  thread.number = number;
  thread.parent = parent;
  thread.known = 1;
  make_room(thread, 1);
}

std::uint32_t new_thread_number() { return self().threads.fetch_add(1, std::memory_order_relaxed); }

void attach() {
  const char* path = getenv(channel::kEnvironment);
  if (path == nullptr || *path == 0) return;
  mapped = map_channel(path);
  if (mapped == nullptr) return;
  if (getpid() != mapped->root_pid && mapped->follow_fork == 0) {
    count_inert();
    return;
  }
  if (mapped->stop.load(std::memory_order_relaxed) != 0 || !claim_process(-1)) return;
#ifdef CARREL_HOOK_LINKED
  take_stacks = mapped->stacks != 0 && _Unwind_Backtrace != nullptr;
#else
  take_stacks = mapped->stacks != 0;
#endif
  recording.store(true, std::memory_order_relaxed);
}

// Early: a low key needs no memory of its own, and our fork handler runs before later ones.
void follow_threads_and_forks() {
  exit_key_made = pthread_key_create(&exit_key, on_thread_exit) == 0;
  if (exit_key_made && thread_state.sequence != 0) pthread_setspecific(exit_key, &thread_state);
  if (mapped != nullptr) pthread_atfork(nullptr, nullptr, after_fork_in_child);
}

// The recorder reads the process's mappings for symbols, and its heap; it needs the process to be
// there.
__attribute__((destructor(101))) void finish() {
  if (!is_recording() || !take_stacks) return;
  self().state.store(ProcessState::kEnding, std::memory_order_release);
  const std::uint64_t began = monotonic_ns();
  while (self().state.load(std::memory_order_acquire) == ProcessState::kEnding &&
         mapped->stop.load(std::memory_order_relaxed) == 0 &&
         monotonic_ns() - began < kLongestGoodbye) {
    futex_wake(mapped->sleeping);
    const timespec pause = {0, 1'000'000};
    nanosleep(&pause, nullptr);
  }
}

}  // namespace carrel::tools::hook
