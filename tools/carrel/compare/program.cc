// One run: see the header.
#include "compare/program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

#include "base/error.h"
#include "base/interrupt.h"
#include "compare/launcher/launcher.h"
#include "launch/paths.h"
#include "launch/spawn.h"

extern char** environ;

namespace carrel::tools {

namespace {

constexpr int kResultFile = 9;  // where the launcher finds its end of the pipe

// What the launcher must set, and unset, to get from this process's environment to `wanted`.
std::vector<std::string> environment_changes(const std::vector<std::string>& wanted) {
  const auto name_of = [](const std::string& setting) {
    return setting.substr(0, setting.find('='));
  };
  std::set<std::string> present;
  std::set<std::string> names;
  for (char** setting = environ; *setting != nullptr; ++setting) present.insert(*setting);
  std::vector<std::string> changes;
  for (const std::string& setting : wanted) {
    names.insert(name_of(setting));
    if (!present.contains(setting)) changes.push_back(setting);
  }
  for (const std::string& setting : present) {
    const std::string name = name_of(setting);
    if (!name.empty() && !names.contains(name)) changes.push_back(name);
  }
  return changes;
}

// Reads what the launcher hands back; false when it ended without.
bool read_result(int from, launch_result& result) {
  std::size_t got = 0;
  while (got < sizeof result) {
    const ssize_t count = read(from, reinterpret_cast<char*>(&result) + got, sizeof result - got);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    got += static_cast<std::size_t>(count);
  }
  return true;
}

pid_t start(const Allocator& allocator, const RunOptions& options, int result_file) {
  std::vector<std::string> words = {own_file("carrel-launch").string(),
                                    std::to_string(kResultFile)};
  for (std::string& change :
       environment_changes(environment_for(allocator, options.in_front, options.environment))) {
    words.push_back(std::move(change));
  }
  words.emplace_back("--");
  words.insert(words.end(), options.command.begin(), options.command.end());
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, result_file, kResultFile);
  if (options.quiet) {
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  }
  pid_t pid = 0;
  const int status =
      posix_spawn(&pid, words.front().c_str(), &actions, nullptr, pointers(words).data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (status != 0) throw UserError("cannot start {}: {}", words.front(), std::strerror(status));
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
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw UserError("cannot make a pipe: {}", std::strerror(errno));
  pid_t pid = 0;
  try {
    pid = start(allocator, options, ends[1]);
  } catch (...) {
    close(ends[0]);
    close(ends[1]);
    throw;
  }
  close(ends[1]);
  int status = 0;
  bool passed_on = false;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    if (interrupted() && !passed_on) {
      // A terminal's Ctrl-C reached the program too; a signal to this process alone has not.
      kill(pid, interrupt_signal());
      passed_on = true;
    }
  }
  launch_result used = {};
  const bool complete = read_result(ends[0], used);
  close(ends[0]);
  if (!complete) throw UserError("the launcher ended early; is the machine out of memory?");
  if (used.start_error != 0) {
    throw UserError("cannot start {}: {}; check its name", options.command.front(),
                    std::strerror(used.start_error));
  }
  RunResult result;
  result.wall_s = used.wall_s;
  result.cpu_s = used.user_s + used.system_s;
  result.peak_rss_bytes = static_cast<std::uint64_t>(used.peak_rss_kib) * 1024;
  if (WIFSIGNALED(used.status)) {
    result.exit_signal = WTERMSIG(used.status);
  } else {
    result.exit_code = WEXITSTATUS(used.status);
  }
  if (!options.metric_command.empty() && result.well()) {
    result.metric = read_metric(options.metric_command);
  }
  return result;
}

}  // namespace carrel::tools
