// fork and exec with the error carried back.
#include "launch/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <initializer_list>

#include "base/error.h"

namespace carrel::tools {

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> list;
  for (const std::string& word : words) list.push_back(const_cast<char*>(word.c_str()));
  list.push_back(nullptr);
  return list;
}

pid_t spawn(const std::vector<std::string>& command, const std::vector<std::string>& environment,
            const std::function<void()>& before) {
  const std::vector<char*> words = pointers(command);
  const std::vector<char*> settings = pointers(environment);
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0)
    throw UserError("cannot make a pipe: {}", std::strerror(errno));
  const pid_t child = fork();
  if (child < 0) {
    close(report[0]);
    close(report[1]);
    throw UserError("cannot start a process: {}", std::strerror(errno));
  }
  if (child == 0) {
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) signal(number, SIG_DFL);
    if (before) before();
    execvpe(words[0], words.data(), settings.data());
    const int error = errno;
    const ssize_t ignored = write(report[1], &error, sizeof(error));
    static_cast<void>(ignored);
    _exit(127);
  }
  close(report[1]);
  int error = 0;
  ssize_t got = 0;
  do {
    got = read(report[0], &error, sizeof(error));
  } while (got < 0 && errno == EINTR);
  close(report[0]);
  if (got == sizeof(error)) {
    waitpid(child, nullptr, 0);
    throw UserError("cannot execute {}: {}", command[0], std::strerror(error));
  }
  return child;
}

void become(const std::vector<std::string>& command, const std::vector<std::string>& environment) {
  const std::vector<char*> words = pointers(command);
  const std::vector<char*> settings = pointers(environment);
  execvpe(words[0], words.data(), settings.data());
  throw UserError("cannot execute {}: {}", command[0], std::strerror(errno));
}

}  // namespace carrel::tools
