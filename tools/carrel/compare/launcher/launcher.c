// carrel-launch: starts a program, waits for it, and hands back what it used. A program of its own
// because the kernel counts the memory of whoever starts a process into that process's peak: this
// one is small.
//
//   carrel-launch FD [NAME=VALUE | NAME]... -- PROGRAM ARGUMENTS...
//
// NAME=VALUE sets a variable, NAME alone removes it. To FD it writes a struct launch_result.
#include "compare/launcher/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile pid_t child;

static void pass_on(int number) {
  if (child > 0) kill(child, number);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double seconds(struct timeval time) {
  return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void run(char** program, int report) {
  execvp(program[0], program);
  const int error = errno;
  const ssize_t ignored = write(report, &error, sizeof error);
  (void)ignored;
  _exit(127);
}

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const int out = atoi(argv[1]);
  int at = 2;
  for (; at < argc && strcmp(argv[at], "--") != 0; ++at) {
    if (strchr(argv[at], '=') != NULL) {
      putenv(argv[at]);
    } else {
      unsetenv(argv[at]);
    }
  }
  if (at + 1 >= argc) return 2;
  char** const program = argv + at + 1;
  struct launch_result result = {0};
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) return 2;
  struct sigaction action = {0};
  action.sa_handler = pass_on;
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGHUP, &action, NULL);
  const double began = now();
  const pid_t started = fork();
  if (started == 0) run(program, report[1]);
  if (started < 0) return 2;
  child = started;
  close(report[1]);
  if (read(report[0], &result.start_error, sizeof result.start_error) <= 0) result.start_error = 0;
  struct rusage usage = {0};
  while (wait4(started, &result.status, 0, &usage) < 0 && errno == EINTR) {
  }
  result.wall_s = now() - began;
  result.user_s = seconds(usage.ru_utime);
  result.system_s = seconds(usage.ru_stime);
  result.peak_rss_kib = usage.ru_maxrss;
  return write(out, &result, sizeof result) == (ssize_t)sizeof result ? 0 : 2;
}
