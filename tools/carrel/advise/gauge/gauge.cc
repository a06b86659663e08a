// The gauge's state, its timers and its signal handler. The signal is a real-time one that programs
// hardly use; a thread that blocks it is missing from the samples, which the shortfall against the
// process's CPU time shows.
#include "advise/gauge/gauge.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "advise/gauge/counters.h"
#include "advise/gauge/stacks.h"

namespace carrel::tools::gauge {

namespace {

constexpr std::uint32_t kMeanDistance = 32;
// A timed call beyond this was interrupted by the scheduler, not slow: it counts as this much.
constexpr std::uint64_t kLongest_ns = 100'000;
constexpr std::uint32_t kWatchedOf = 8;  // one timed call in so many is watched for sleeping

Counters* counters;
std::uint64_t clock_cost_ns;
pthread_key_t thread_end;
bool has_key;
int sample_signal;

// Kernel timers by their own numbers: glibc's timer_create allocates.
thread_local int timer = -1;

void on_sample(int, siginfo_t* info, void*) {
  if (self.walking != 0) return;
  const auto periods = 1 + static_cast<std::uint64_t>(info->si_overrun > 0 ? info->si_overrun : 0);
  // Counters only: they publish nothing else.
  counters->signals.fetch_add(1, std::memory_order_relaxed);
  counters->periods.fetch_add(periods, std::memory_order_relaxed);
  if (self.inside != 0) {
    counters->signals_inside.fetch_add(1, std::memory_order_relaxed);
    counters->periods_inside.fetch_add(periods, std::memory_order_relaxed);
  }
}

void on_thread_end(void*) {
  if (timer >= 0) syscall(SYS_timer_delete, timer);
  timer = -1;
}

void child_of_fork() {
  if (counters == nullptr) return;
  // Timers are not inherited.
  timer = -1;
  self.armed = 0;
  counters->processes.fetch_add(1, std::memory_order_relaxed);
  start_stacks_in_child();
  arm();
}

void measure_clock() {
  std::uint64_t least = ~std::uint64_t{0};
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t start = clock_ns();
    const std::uint64_t took = clock_ns() - start;
    if (took < least) least = took;
  }
  clock_cost_ns = least;
}

__attribute__((constructor)) void set_up() {
  const char* path = getenv(kEnvironment);
  if (path == nullptr) return;
  const int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void* place = mmap(nullptr, sizeof(Counters), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (place == MAP_FAILED) return;
  auto* mapped = static_cast<Counters*>(place);
  if (mapped->magic != kMagic) return;
  measure_clock();
  has_key = pthread_key_create(&thread_end, on_thread_end) == 0;
  pthread_atfork(nullptr, nullptr, child_of_fork);
  sample_signal = SIGRTMAX - 3;
  struct sigaction action = {};
  action.sa_sigaction = on_sample;
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  counters = mapped;
  if (sigaction(sample_signal, &action, nullptr) != 0) sample_signal = 0;
  mapped->processes.fetch_add(1, std::memory_order_relaxed);
  start_stacks(mapped->wants_stacks != 0 ? &mapped->log : nullptr);
  // What allocated before this constructor has only tried.
  self.armed = 0;
  arm();
}

}  // namespace

constinit thread_local Thread self = {0, 0, kMeanDistance, 0, 0, 0, 0, 0};

std::uint64_t clock_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

void arm() {
  self.armed = 1;
  if (counters == nullptr) return;
  counters->threads.fetch_add(1, std::memory_order_relaxed);
  // Kept inside while it lasts, so that what these calls allocate does not come back here.
  self.inside = ~std::uintptr_t{0};
  if (has_key) pthread_setspecific(thread_end, &self);
  self.inside = 0;
  sigevent event = {};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = sample_signal;
  event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
  const auto period = static_cast<long>(counters->period_ns);
  const itimerspec every = {{period / 1'000'000'000, period % 1'000'000'000},
                            {period / 1'000'000'000, period % 1'000'000'000}};
  if (sample_signal == 0 ||
      syscall(SYS_timer_create, CLOCK_THREAD_CPUTIME_ID, &event, &timer) != 0 ||
      syscall(SYS_timer_settime, timer, 0, &every, nullptr) != 0) {
    timer = -1;
    counters->threads_without_timer.fetch_add(1, std::memory_order_relaxed);
  }
}

std::int64_t sleeps() {
  rusage usage;
  return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : -1;
}

std::uint32_t next_distance() {
  // xorshift; distances from 1 to 2 * kMeanDistance - 1, so that no rhythm of the program matters.
  std::uint32_t x = self.random;
  if (x == 0) x = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(&self)) | 1;
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  self.random = x;
  const std::uint32_t distance = 1 + x % (2 * kMeanDistance - 1);
  self.until_timed = distance - 1;
  return kMeanDistance;
}

std::int64_t sleeps_before() {
  // A thread that is alone waits for nobody.
  if (counters == nullptr || counters->threads.load(std::memory_order_relaxed) < 2) return -1;
  return self.random % kWatchedOf == 0 ? sleeps() : -1;
}

void timed(std::uint64_t started_ns, std::uint32_t stands_for, bool frees, std::int64_t slept) {
  const std::uint64_t whole = clock_ns() - started_ns;
  if (counters == nullptr || self.walking != 0) return;
  if (slept >= 0) {
    counters->watched.fetch_add(1, std::memory_order_relaxed);
    counters->watched_ns.fetch_add(whole, std::memory_order_relaxed);
    if (sleeps() > slept) {
      counters->slept.fetch_add(1, std::memory_order_relaxed);
      counters->slept_ns.fetch_add(whole, std::memory_order_relaxed);
    }
  }
  std::uint64_t took = whole > clock_cost_ns ? whole - clock_cost_ns : 0;
  auto& classes = frees ? counters->free_ns : counters->allocation_ns;
  classes[latency_class(took)].fetch_add(1, std::memory_order_relaxed);
  if (took > kLongest_ns) took = kLongest_ns;
  counters->timed.fetch_add(1, std::memory_order_relaxed);
  counters->calls.fetch_add(stands_for, std::memory_order_relaxed);
  counters->time_ns.fetch_add(took * stands_for, std::memory_order_relaxed);
  if (const std::uint64_t stack_ns = charge(took * stands_for); stack_ns != 0) {
    counters->stacks_cpu_ns.fetch_add(stack_ns, std::memory_order_relaxed);
  }
}

}  // namespace carrel::tools::gauge
