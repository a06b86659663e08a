// Following a program's processes with ptrace: see the header.
#include "launch/witness.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <system_error>

#include "base/error.h"
#include "base/interrupt.h"
#include "launch/elf_file.h"
#include "launch/proof.h"
#include "launch/spawn.h"

namespace carrel::tools {

namespace fs = std::filesystem;

namespace {

constexpr useconds_t kPause_us = 200;
constexpr long kOptions = PTRACE_O_EXITKILL | PTRACE_O_TRACEEXIT | PTRACE_O_TRACEEXEC |
                          PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE;

// CPU time of all of a process's threads, by /proc/PID/stat.
double cpu_seconds(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  std::getline(file, line);
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(line.substr(name_end + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// The value of a line of /proc/TASK/status; -1 when there is none.
long status_of(pid_t task, const std::string& name) {
  std::ifstream file(fmt::format("/proc/{}/status", task));
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return std::stol(line.substr(name.size() + 1));
  }
  return -1;
}

// At its exit stop, when its memory and its files are still there.
Worker look_at(pid_t pid) {
  Worker worker;
  worker.pid = pid;
  worker.cpu_s = cpu_seconds(pid);
  std::error_code error;
  worker.executable = fs::read_symlink(fmt::format("/proc/{}/exe", pid), error).string();
  try {
    worker.malloc = ask_process(pid).malloc();
  } catch (const UserError&) {
    // A static program has nothing to ask; of any other it cannot be told.
    try {
      if (read_elf(fmt::format("/proc/{}/exe", pid)).interpreter.empty()) {
        worker.why = "it is linked statically";
      }
    } catch (const UserError&) {
    }
  }
  return worker;
}

// Follows the traced child and all that it starts until it has ended.
class Follower {
 public:
  explicit Follower(pid_t root) : root_(root) {}

  std::optional<Worker> follow() {
    while (true) {
      if (interrupted() && !ending_) end_all();
      int status = 0;
      // Not without end: an interrupt may have come just before.
      const pid_t task = waitpid(-1, &status, __WALL | WNOHANG);
      if (task == 0) {
        usleep(kPause_us);
        continue;
      }
      if (task < 0) {
        if (errno != EINTR) break;
        continue;
      }
      if (WIFSTOPPED(status)) {
        if (!stopped(task, status)) return std::nullopt;
      } else {
        tasks_.erase(task);
        if (task == root_) root_alive_ = false;
        // What outlives the program is not waited for.
        if (task == root_) end_all();
      }
    }
    return interrupted() ? std::nullopt : busiest_;
  }

 private:
  bool stopped(pid_t task, int status) {
    if (ending_) {  // a child that began just before its parent was killed
      kill(task, SIGKILL);
      return true;
    }
    const bool is_new = tasks_.insert(task).second;
    if (task == root_ && is_new) {
      if (ptrace(PTRACE_SETOPTIONS, task, nullptr, kOptions) != 0) {
        end_all();
        while (waitpid(root_, nullptr, __WALL) > 0 || errno == EINTR) {
        }
        return false;
      }
    }
    const int event = status >> 16;
    int pass_on = 0;
    if (event == PTRACE_EVENT_EXIT) {
      if (status_of(task, "Tgid") == task) note(look_at(task));  // threads come by as well
    } else if (event == 0 && !is_new) {
      pass_on = WSTOPSIG(status);
    }
    ptrace(PTRACE_CONT, task, nullptr, static_cast<long>(pass_on));
    return true;
  }

  void note(Worker worker) {
    if (!busiest_ || worker.cpu_s > busiest_->cpu_s ||
        (worker.cpu_s == busiest_->cpu_s && worker.pid == root_)) {
      busiest_ = std::move(worker);
    }
  }

  void end_all() {
    ending_ = true;
    if (root_alive_) kill(root_, SIGKILL);  // our own child, also where it is not traced
    // A number may be another's by now.
    for (const pid_t task : tasks_) {
      if (status_of(task, "TracerPid") == getpid()) kill(task, SIGKILL);
    }
  }

  pid_t root_;
  std::set<pid_t> tasks_;
  bool root_alive_ = true;
  bool ending_ = false;
  std::optional<Worker> busiest_;
};

}  // namespace

std::optional<Worker> find_worker(const std::vector<std::string>& command,
                                  const Allocator& allocator) {
  catch_interrupts();
  const pid_t child = spawn(command, environment_for(allocator), [] {
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
  });
  return Follower(child).follow();
}

std::string why_not_at_work(const std::vector<std::string>& command, const Allocator& allocator) {
  const std::optional<Worker> worker = find_worker(command, allocator);
  if (!worker || worker->executable.empty()) return {};
  if (!worker->why.empty()) {
    return fmt::format("the work is done by {}, and that takes no allocator: {}",
                       worker->executable, worker->why);
  }
  if (worker->malloc.empty() || is_of(allocator, worker->malloc)) return {};
  return fmt::format("the work is done by {}, whose malloc comes from {}", worker->executable,
                     worker->malloc);
}

}  // namespace carrel::tools
