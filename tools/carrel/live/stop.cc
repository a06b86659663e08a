// Stopping by ptrace: seized threads need no signal to stop, so that nothing of the program is
// disturbed but calls that wait.
#include "live/stop.h"

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "live/threads.h"

namespace carrel::tools {

namespace {

constexpr double kMostSeconds = 1;
constexpr long kNanosecondsBetweenLooks = 20'000;

}  // namespace

StoppedProcess::StoppedProcess(pid_t pid) {
  // While others wait for this process, it should not wait for its turn. Where that is not
  // permitted, it does.
  sched_param urgent = {};
  urgent.sched_priority = sched_get_priority_min(SCHED_FIFO);
  policy_ = sched_getscheduler(0);
  raised_ = sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &urgent) == 0;
  try {
    // A thread that still runs may start another: until none is new.
    while (seize_new_threads(pid)) {
    }
  } catch (...) {
    release();
    throw;
  }
}

StoppedProcess::~StoppedProcess() { release(); }

// False when there was none.
bool StoppedProcess::seize_new_threads(pid_t pid) {
  std::vector<pid_t> fresh;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), error)) {
    const pid_t thread = std::stoi(entry.path().filename());
    if (threads_.contains(thread)) continue;
    if (ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) != 0) {
      const int why = errno;
      if (has_ended(pid, thread)) continue;
      throw UserError(
          "process {} may not be stopped: {}; leave --stop out, or run this as root while no "
          "debugger holds it",
          pid, std::strerror(why));
    }
    if (threads_.empty()) since_ = std::chrono::steady_clock::now();
    threads_[thread] = 0;
    ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr);
    fresh.push_back(thread);
  }
  for (const pid_t thread : fresh) wait_for(thread);
  if (threads_.empty()) throw UserError("process {} has ended", pid);
  return !fresh.empty();
}

void StoppedProcess::wait_for(pid_t thread) {
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    int status = 0;
    const pid_t got = waitpid(thread, &status, __WALL | WNOHANG);
    if (got < 0 || (got == thread && !WIFSTOPPED(status))) {
      threads_.erase(thread);  // it ended
      return;
    }
    if (got == thread) {
      // What it stopped for may be a signal on its way, which it is to get.
      if (status >> 16 != PTRACE_EVENT_STOP) threads_[thread] = WSTOPSIG(status);
      return;
    }
    if (seconds_since(start) > kMostSeconds) {
      throw UserError("thread {} does not stop; leave --stop out", thread);
    }
    // The thread may need this very CPU to stop on.
    const timespec moment = {.tv_sec = 0, .tv_nsec = kNanosecondsBetweenLooks};
    nanosleep(&moment, nullptr);
  }
}

double StoppedProcess::release() {
  const bool stopped = !threads_.empty();
  for (const auto& [thread, signal] : threads_) {
    ptrace(PTRACE_DETACH, thread, nullptr, static_cast<long>(signal));
  }
  threads_.clear();
  const double stopped_s = stopped ? seconds_since(since_) : 0;
  if (raised_) {
    const sched_param usual = {};
    sched_setscheduler(0, policy_, &usual);
    raised_ = false;
  }
  return stopped_s;
}

}  // namespace carrel::tools
