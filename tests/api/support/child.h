/* Waiting for a forked child that may hang before it can set an alarm of its own: in a fork
 * handler, say. C11 and C++20. Not for the GoogleTest suites, which have blocks.h. */
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "check.h"

/* Waits at most `seconds` for a child, then ends it. The check fails unless it exited 0. */
static inline void expect_success(pid_t child, int seconds) {
  struct timespec pause = {0, 200 * 1000L};
  time_t end = time(NULL) + seconds + 1;
  int status = 0;
  for (;;) {
    pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child) break;
    CHECK(ended == 0 || errno == EINTR);
    if (time(NULL) > end) {
      kill(child, SIGKILL);
      CHECK(!"the child hung");
    }
    nanosleep(&pause, NULL);
    if (pause.tv_nsec < 20 * 1000 * 1000L) pause.tv_nsec *= 2;
  }
  if (WIFSIGNALED(status)) CHECK_EQ(WTERMSIG(status), 0);
  CHECK_EQ(WEXITSTATUS(status), 0);
}

/* Goes on in a child that leads a process group of its own; the caller waits for it, ends
 * whatever of the group is left, hung grandchildren included, and exits as the child did.
 * Call it first in main, while the process has one thread. */
static inline void go_on_in_group(void) {
  pid_t leader = fork();
  CHECK(leader >= 0);
  if (leader == 0) {
    CHECK_EQ(setpgid(0, 0), 0);
    return;
  }
  int status = 0;
  while (waitpid(leader, &status, 0) < 0) CHECK_EQ(errno, EINTR);
  kill(-leader, SIGKILL);
  if (WIFSIGNALED(status)) CHECK_EQ(WTERMSIG(status), 0);
  _exit(WEXITSTATUS(status));
}
