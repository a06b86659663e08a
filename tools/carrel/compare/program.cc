// One run: see the header.
#include "compare/program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/interrupt.h"

namespace carrel::tools {

namespace {

double seconds(const timeval& value) {
  return static_cast<double>(value.tv_sec) + static_cast<double>(value.tv_usec) / 1e6;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

pid_t start(const Allocator& allocator, const RunOptions& options) {
  std::vector<std::string> words = options.command;
  std::vector<std::string> environment =
      environment_for(allocator, options.in_front, options.environment);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (options.quiet) {
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  }
  pid_t pid = 0;
  const int status = posix_spawnp(&pid, words.front().c_str(), &actions, nullptr,
                                  pointers(words).data(), pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  if (status != 0) {
    throw UserError("cannot start {}: {}; check its name", options.command.front(),
                    std::strerror(status));
  }
  return pid;
}

double read_metric(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) throw UserError("cannot run --metric-cmd: {}", std::strerror(errno));
  std::array<char, 256> line{};
  const bool got = std::fgets(line.data(), line.size(), pipe) != nullptr;
  const int status = pclose(pipe);
  char* end = nullptr;
  const double value = std::strtod(line.data(), &end);
  if (!got || status != 0 || end == line.data()) {
    throw UserError("--metric-cmd '{}' must print one number and exit with 0", command);
  }
  return value;
}

}  // namespace

std::string RunResult::ending() const {
  if (exit_signal != 0) {
    return fmt::format("ended by signal {} ({})", exit_signal, strsignal(exit_signal));
  }
  return fmt::format("exited with status {}", exit_code);
}

RunResult run_program(const Allocator& allocator, const RunOptions& options) {
  catch_interrupts();
  const auto began = std::chrono::steady_clock::now();
  const pid_t pid = start(allocator, options);
  int status = 0;
  rusage usage = {};
  bool passed_on = false;
  while (wait4(pid, &status, 0, &usage) < 0) {
    if (errno != EINTR) throw UserError("cannot wait for the program: {}", std::strerror(errno));
    if (interrupted() && !passed_on) {
      // A terminal's Ctrl-C reached the program too; a signal to this process alone has not.
      kill(pid, interrupt_signal());
      passed_on = true;
    }
  }
  RunResult result;
  result.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  result.user_s = seconds(usage.ru_utime);
  result.system_s = seconds(usage.ru_stime);
  result.cpu_s = result.user_s + result.system_s;
  result.peak_rss_bytes = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
  if (WIFSIGNALED(status)) {
    result.exit_signal = WTERMSIG(status);
  } else {
    result.exit_code = WEXITSTATUS(status);
  }
  if (!options.metric_command.empty() && result.well()) {
    result.metric = read_metric(options.metric_command);
  }
  return result;
}

}  // namespace carrel::tools
