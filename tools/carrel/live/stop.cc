// Stopping by ptrace: seized threads need no signal to stop, so that nothing of the program is
// disturbed but calls that wait.
#include "live/stop.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/error.h"

namespace carrel::tools {

namespace {

constexpr double kMostSeconds = 1;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

StoppedProcess::StoppedProcess(pid_t pid) : since_(std::chrono::steady_clock::now()) {
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
  bool any = false;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), error)) {
    const pid_t thread = std::stoi(entry.path().filename());
    if (threads_.contains(thread)) continue;
    if (ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) != 0) {
      if (errno == ESRCH) continue;  // it ended
      throw UserError(
          "process {} may not be stopped: {}; leave --stop out, or run this as root while no "
          "debugger holds it",
          pid, std::strerror(errno));
    }
    threads_[thread] = 0;
    any = true;
    ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr);
    wait_for(thread);
  }
  if (threads_.empty()) throw UserError("process {} has ended", pid);
  return any;
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
    sched_yield();
  }
}

double StoppedProcess::release() {
  if (threads_.empty()) return 0;
  for (const auto& [thread, signal] : threads_) {
    ptrace(PTRACE_DETACH, thread, nullptr, static_cast<long>(signal));
  }
  threads_.clear();
  return seconds_since(since_);
}

}  // namespace carrel::tools
