// carrel-player: carries out a plan on whatever allocator it was started on, and measures. It
// allocates nothing itself: the plan, its tables and its results are one mapped file, so that what
// the process has beyond its start is the allocator's.
//
//   carrel-player PLAN-FILE
//
// Exit status 0 when the results are in the file; else a line on standard error.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "replay/plan_format.h"

namespace {

using namespace carrel::tools::plan;

PlanHead* head;
PlanThread* threads;
const PlanOp* ops;
std::atomic<void*>* slots;
pthread_t* handles;  // behind the slots
std::uint64_t began_ns;
constexpr std::uint64_t kPatience = 30'000'000'000;
// What a slot holds when the allocator refused.
char refusal_byte;
void* const refusal = &refusal_byte;

// The C++ operators, where the allocator or the C++ runtime brings them; else malloc and free, of
// which a C++ runtime would make them.
void* (*operator_new)(std::size_t);
void* (*operator_new_aligned)(std::size_t, std::size_t);
void (*operator_delete)(void*);
void (*operator_delete_sized)(void*, std::size_t);
void (*operator_delete_aligned)(void*, std::size_t);

std::uint64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

[[noreturn]] void fail(const char* what) {
  const char* const parts[] = {"carrel-player: ", what, "\n"};
  for (const char* part : parts) {
    const ssize_t ignored = write(2, part, strlen(part));
    static_cast<void>(ignored);
  }
  _exit(1);
}

// A line "Name:   123 kB" of /proc/self/status, in bytes.
std::uint64_t status_bytes(const char* name) {
  char text[4096];
  const int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  const ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
  if (fd >= 0) close(fd);
  text[length > 0 ? length : 0] = 0;
  const char* const line = strstr(text, name);
  return line == nullptr ? 0 : strtoull(line + strlen(name), nullptr, 10) * 1024;
}

void reset_peak() {
  const int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  const ssize_t ignored = write(fd, "5", 1);
  static_cast<void>(ignored);
  close(fd);
}

void touch(void* block, std::uint64_t from, std::uint64_t size) {
  volatile char* const bytes = static_cast<volatile char*>(block);
  if (head->touch == Touch::kNone || from >= size) return;
  if (head->touch == Touch::kFull) {
    memset(static_cast<char*>(block) + from, 1, size - from);
    return;
  }
  for (std::uint64_t at = from; at < size; at += 4096) bytes[at] = 1;
}

struct Worker {
  PlanThread* thread;
  std::int64_t live = 0;
  std::uint64_t stall_ns = 0;
  std::uint64_t stalls = 0;
  std::uint64_t refused = 0;
  std::uint64_t calls = 0;
  std::uint64_t timed = 0;
  std::uint64_t timed_ns = 0;  // in timed calls, less what the clock costs
  std::uint32_t random;
  std::uint32_t until_sample = 1;
  std::uint32_t until_sum = 1;
  std::int64_t sum_above = 0;  // live bytes of this thread from which on a peak may be missed
};

void* wait_for(Worker& worker, std::atomic<void*>& slot) {
  // Acquire pairs with the release of the thread that allocated: its block is written.
  void* block = slot.load(std::memory_order_acquire);
  if (block != nullptr) return block;
  const std::uint64_t began = now_ns();
  for (unsigned round = 0; (block = slot.load(std::memory_order_acquire)) == nullptr; ++round) {
    if (round < 100) {
      sched_yield();
    } else {
      const timespec pause = {0, 50'000};
      nanosleep(&pause, nullptr);
      if (head->real_pace == 0 && now_ns() - began > kPatience) {
        fail("a block that another thread allocates never came; the trace's order does not hold");
      }
    }
  }
  worker.stall_ns += now_ns() - began;
  ++worker.stalls;
  return block;
}

// Now and then the live bytes of all threads are added up, by one of them, and where its own have
// grown by 1% of the peak: a peak may last for one block only.
void sum_live(Worker& worker) {
  worker.thread->live_bytes.store(worker.live, std::memory_order_relaxed);
  if (--worker.until_sum != 0 && worker.live < worker.sum_above) return;
  worker.until_sum = 256 + head->threads * 4;
  std::int64_t sum = 0;
  for (std::uint32_t i = 0; i < head->threads; ++i) {
    sum += threads[i].live_bytes.load(std::memory_order_relaxed);
  }
  std::int64_t peak = head->peak_live_bytes.load(std::memory_order_relaxed);
  while (sum > peak &&
         !head->peak_live_bytes.compare_exchange_weak(peak, sum, std::memory_order_relaxed)) {
  }
  constexpr std::int64_t kLeastStep = 16 * 1024;
  worker.sum_above = worker.live + (peak / 100 > kLeastStep ? peak / 100 : kLeastStep);
}

void* allocate(const PlanOp& op, void* old) {
  const std::size_t alignment = std::size_t{1} << op.alignment_log;
  switch (op.code) {
    case OpCode::kCalloc:
      return calloc(1, op.size);
    case OpCode::kAligned: {
      void* block = nullptr;
      const std::size_t least = alignment < sizeof(void*) ? sizeof(void*) : alignment;
      return posix_memalign(&block, least, op.size) == 0 ? block : nullptr;
    }
    case OpCode::kNew:
      return operator_new(op.size);
    case OpCode::kNewAligned:
      return operator_new_aligned(op.size, alignment);
    case OpCode::kRealloc:
      return realloc(old, op.size);
    default:
      return malloc(op.size);
  }
}

void release(const PlanOp& op, void* block) {
  switch (op.code) {
    case OpCode::kDelete:
      operator_delete(block);
      break;
    case OpCode::kDeleteSized:
      operator_delete_sized(block, op.old_size);
      break;
    case OpCode::kDeleteAligned:
      operator_delete_aligned(block, std::size_t{1} << op.alignment_log);
      break;
    default:
      free(block);
      break;
  }
}

// A timed call beyond this was interrupted by the scheduler, not slow: it counts as this much.
constexpr std::uint64_t kLongest_ns = 100'000;

void count_latency(Worker& worker, Latency& latency, std::uint64_t ns) {
  latency.bucket[carrel::tools::latency_class(ns)].fetch_add(1, std::memory_order_relaxed);
  ++worker.timed;
  const std::uint64_t took = ns < kLongest_ns ? ns : kLongest_ns;
  worker.timed_ns += took > head->clock_ns ? took - head->clock_ns : 0;
}

// Every 32nd call or so is timed, at distances that follow no pattern of the program.
bool sampled(Worker& worker) {
  ++worker.calls;
  if (--worker.until_sample != 0) return false;
  worker.random = worker.random * 1664525 + 1013904223;
  worker.until_sample = 1 + (worker.random >> 26);
  return true;
}

void begin_block(Worker& worker, const PlanOp& op) {
  void* old = nullptr;
  std::uint32_t target = op.slot;
  std::uint64_t from = 0;
  if (op.code == OpCode::kRealloc) {
    target = op.to;
    if (op.slot != kNoSlot) {
      old = wait_for(worker, slots[op.slot]);
      if (old == refusal) old = nullptr;
      from = op.old_size;
      worker.live -= static_cast<std::int64_t>(op.old_size);
    }
  }
  void* block = nullptr;
  if (sampled(worker)) {
    const std::uint64_t began = now_ns();
    block = allocate(op, old);
    count_latency(worker, head->malloc_latency, now_ns() - began);
  } else {
    block = allocate(op, old);
  }
  if (block == nullptr) {
    ++worker.refused;
    slots[target].store(refusal, std::memory_order_release);
    return;
  }
  touch(block, from, op.size);
  worker.live += static_cast<std::int64_t>(op.size);
  slots[target].store(block, std::memory_order_release);
  sum_live(worker);
}

void end_block(Worker& worker, const PlanOp& op) {
  if (op.slot == kNoSlot) return;
  void* const block = wait_for(worker, slots[op.slot]);
  if (block == refusal) return;
  worker.live -= static_cast<std::int64_t>(op.old_size);
  if (sampled(worker)) {
    const std::uint64_t began = now_ns();
    release(op, block);
    count_latency(worker, head->free_latency, now_ns() - began);
  } else {
    release(op, block);
  }
  worker.thread->live_bytes.store(worker.live, std::memory_order_relaxed);
}

void keep_pace(std::uint64_t due_ns) {
  const std::uint64_t now = now_ns() - began_ns;
  if (now >= due_ns) return;
  const std::uint64_t left = due_ns - now;
  if (left < 60'000) {
    while (now_ns() - began_ns < due_ns) {
    }
    return;
  }
  const timespec pause = {static_cast<time_t>(left / 1'000'000'000),
                          static_cast<long>(left % 1'000'000'000)};
  nanosleep(&pause, nullptr);
}

void* run(void* argument) {
  Worker worker;
  worker.thread = static_cast<PlanThread*>(argument);
  worker.random = static_cast<std::uint32_t>(worker.thread - threads) * 2654435761u + 12345;
  const PlanOp* const end = ops + worker.thread->first + worker.thread->count;
  std::uint64_t due_ns = worker.thread->start_ns;
  for (const PlanOp* op = ops + worker.thread->first; op != end; ++op) {
    if (head->real_pace != 0) {
      due_ns += std::uint64_t{op->delta} * 16;
      keep_pace(due_ns);
    }
    if (op->code <= OpCode::kRealloc) {
      begin_block(worker, *op);
    } else if (op->code <= OpCode::kDeleteAligned) {
      end_block(worker, *op);
    } else if (op->code == OpCode::kCreate) {
      if (pthread_create(&handles[op->size], nullptr, run, &threads[op->size]) != 0) {
        fail("a thread could not be created; raise ulimit -u");
      }
    } else {
      pthread_join(handles[op->size], nullptr);
    }
  }
  head->stall_ns.fetch_add(worker.stall_ns, std::memory_order_relaxed);
  head->stalls.fetch_add(worker.stalls, std::memory_order_relaxed);
  if (worker.timed != 0) {
    const double each = static_cast<double>(worker.timed_ns) / static_cast<double>(worker.timed);
    head->calls_ns.fetch_add(static_cast<std::uint64_t>(each * static_cast<double>(worker.calls)),
                             std::memory_order_relaxed);
  }
  __atomic_fetch_add(&head->refused, worker.refused, __ATOMIC_RELAXED);
  return nullptr;
}

template <typename Function>
void find(Function& function, const char* name, Function otherwise) {
  function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
  if (function == nullptr) function = otherwise;
}

void find_operators() {
  find(
      operator_new, "_Znwm", +[](std::size_t size) { return malloc(size); });
  find(
      operator_delete, "_ZdlPv", +[](void* block) { free(block); });
  find(
      operator_delete_sized, "_ZdlPvm", +[](void* block, std::size_t) { free(block); });
  find(
      operator_new_aligned, "_ZnwmSt11align_val_t", +[](std::size_t size, std::size_t alignment) {
        void* block = nullptr;
        return posix_memalign(&block, alignment, size) == 0 ? block : nullptr;
      });
  find(
      operator_delete_aligned, "_ZdlPvSt11align_val_t",
      +[](void* block, std::size_t) { free(block); });
  Dl_info info;
  void* const found = dlsym(RTLD_DEFAULT, "malloc");
  if (found != nullptr && dladdr(found, &info) != 0 && info.dli_fname != nullptr) {
    strncpy(head->malloc_path, info.dli_fname, sizeof(head->malloc_path) - 1);
  }
}

void map_plan(const char* path) {
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  struct stat status;
  if (fd < 0 || fstat(fd, &status) != 0) fail("the plan cannot be read");
  // All pages now: none is to be faulted in, or counted, while the clock runs.
  void* const memory = mmap(nullptr, static_cast<std::size_t>(status.st_size),
                            PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (memory == MAP_FAILED) fail("the plan cannot be mapped");
  close(fd);
  char* const base = static_cast<char*>(memory);
  head = static_cast<PlanHead*>(memory);
  if (head->magic != kMagic) fail("the file is no plan");
  threads = reinterpret_cast<PlanThread*>(base + head->threads_offset);
  ops = reinterpret_cast<const PlanOp*>(base + head->ops_offset);
  slots = reinterpret_cast<std::atomic<void*>*>(base + head->slots_offset);
  handles = reinterpret_cast<pthread_t*>(slots + head->slots);
}

std::uint64_t nanoseconds(const timeval& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(time.tv_usec) * 1000;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) fail("usage: carrel-player PLAN-FILE; carrel replay starts it");
  map_plan(argv[1]);
  find_operators();
  head->clock_ns = ~std::uint64_t{0};
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t began = now_ns();
    const std::uint64_t took = now_ns() - began;
    if (took < head->clock_ns) head->clock_ns = took;
  }
  reset_peak();
  head->base_rss_bytes = status_bytes("VmRSS:");
  rusage before;
  rusage after;
  getrusage(RUSAGE_SELF, &before);
  began_ns = now_ns();
  // The first thread is this one. Those that no op creates start with it.
  for (std::uint32_t i = 1; i < head->threads; ++i) {
    if (threads[i].created != 0) continue;
    if (pthread_create(&handles[i], nullptr, run, &threads[i]) != 0) {
      fail("a thread could not be created; raise ulimit -u");
    }
  }
  run(&threads[0]);
  for (std::uint32_t i = 1; i < head->threads; ++i) {
    if (threads[i].joined == 0) pthread_join(handles[i], nullptr);
  }
  head->wall_ns = now_ns() - began_ns;
  getrusage(RUSAGE_SELF, &after);
  const std::uint64_t peak = status_bytes("VmHWM:");
  const std::uint64_t end = status_bytes("VmRSS:");
  head->peak_rss_bytes = peak > head->base_rss_bytes ? peak - head->base_rss_bytes : 0;
  head->end_rss_bytes = end > head->base_rss_bytes ? end - head->base_rss_bytes : 0;
  head->user_ns = nanoseconds(after.ru_utime) - nanoseconds(before.ru_utime);
  head->system_ns = nanoseconds(after.ru_stime) - nanoseconds(before.ru_stime);
  head->minor_faults = static_cast<std::uint64_t>(after.ru_minflt - before.ru_minflt);
  head->major_faults = static_cast<std::uint64_t>(after.ru_majflt - before.ru_majflt);
  head->done = 1;
  _exit(0);
}
