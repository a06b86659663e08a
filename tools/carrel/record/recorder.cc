// Running a program under recording: the threads and the waiting around a Session.
#include "record/recorder.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <system_error>
#include <thread>

#include "base/error.h"
#include "base/interrupt.h"
#include "launch/paths.h"
#include "launch/preflight.h"
#include "launch/spawn.h"
#include "record/session.h"

namespace carrel::tools {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kTick = std::chrono::microseconds(250);

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

// The two threads beside the caller's; joined by stop().
class Workers {
 public:
  explicit Workers(Session& session) : session_(session) {
    ticker_ = std::thread([this] {
      // The tick must move also when the program keeps every processor busy. Without the right to
      // do so the thread runs like any other.
      const sched_param urgent = {1};
      pthread_setschedparam(pthread_self(), SCHED_RR, &urgent);
      prctl(PR_SET_TIMERSLACK, 1);
      while (!done_.load(std::memory_order_relaxed)) {
        session_.tick();
        std::this_thread::sleep_for(kTick);
      }
    });
    drainer_ = std::thread([this] { drain(); });
  }
  ~Workers() { stop(); }

  void stop() {
    done_ = true;
    if (ticker_.joinable()) ticker_.join();
    if (drainer_.joinable()) drainer_.join();
  }

 private:
  void drain() {
    try {
      auto kept = Clock::now();
      while (!done_.load(std::memory_order_relaxed)) {
        if (!session_.drain()) session_.wait_for_blocks();
        const auto now = Clock::now();
        if (now - kept > std::chrono::milliseconds(2)) {
          kept = now;
          session_.keep_house(false);
        }
      }
    } catch (const std::exception& error) {
      session_.die(error.what());
    }
  }
  Session& session_;
  std::atomic<bool> done_{false};
  std::thread ticker_;
  std::thread drainer_;
};

// Waits for the program; signals that reach this process alone are passed on.
bool wait_for(pid_t child, int& status, rusage& usage) {
  int passed_on = 0;
  while (wait4(child, &status, WNOHANG, &usage) == 0) {
    const int signal = interrupt_signal();
    if (signal != 0 && passed_on == 0) {
      passed_on = 1;
      // Ctrl-C reaches the program by itself when it shares the terminal's foreground group.
      if (signal != SIGINT || getpgid(child) != getpgrp() || isatty(STDIN_FILENO) == 0) {
        kill(child, signal);
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

// Nothing is worse than a run of an hour whose trace then finds no place.
void probe(const std::filesystem::path& output) {
  std::error_code error;
  const bool is_new = !std::filesystem::exists(output, error);
  const int file = open(output.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) {
    throw UserError("cannot write {}: {}; choose another file with -o", output.string(),
                    std::strerror(errno));
  }
  close(file);
  if (is_new) std::filesystem::remove(output, error);
}

}  // namespace

RecordResult record(const RecordOptions& options) {
  const Preflight check = preflight(options.command);
  require_recordable(check, options.allocator);
  const std::filesystem::path hook = own_file("libcarrel-hook.so");
  probe(options.output);
  Session session(options);
  // musl's dynamic linker refuses the program over a library made for glibc.
  std::vector<std::filesystem::path> in_front;
  if (check.obstacle != Obstacle::kMusl) in_front.push_back(hook);
  const std::vector<std::string> environment =
      environment_for(options.allocator, in_front, {session.environment()});
  RecordResult result;
  const auto began = Clock::now();
  channel::Control& control = session.control();
  catch_interrupts();
  const pid_t child =
      spawn(options.command, environment, [&control] { control.root_pid = getpid(); });
  Workers workers(session);
  int status = 0;
  rusage usage = {};
  wait_for(child, status, usage);
  result.wall_seconds = std::chrono::duration<double>(Clock::now() - began).count();
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  result.exit_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  result.user_seconds = seconds(usage.ru_utime);
  result.system_seconds = seconds(usage.ru_stime);
  if (options.follow_fork) {
    // Its children may outlive it; two looks, since the drainer may have yet to find the last.
    for (int calm = 0; calm < 3 && !interrupted();) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      calm = session.recorded_alive() ? 0 : calm + 1;
    }
  }
  workers.stop();
  try {
    session.take_the_rest();
  } catch (const UserError& error) {
    session.die(error.what());
  }
  session.finish(result);
  return result;
}

}  // namespace carrel::tools
