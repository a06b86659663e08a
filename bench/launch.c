/* Starts one program, waits for it, and says what it cost: wall, user and system seconds, peak
 * resident memory and page faults, as one line of JSON on file descriptor 3.
 *
 *   launch TIMEOUT_SECONDS [NAME=VALUE ...] -- PROGRAM [ARGUMENT ...]
 *
 * The kernel's peak for a process includes what it was before exec, a copy of its parent. That is
 * why this exists: linked statically it is smaller than any program it starts, while a Python
 * interpreter would set a floor of 10 MB. The program gets its own process group, which is killed
 * when the time is up or when this process is told to end. Environment settings are for the
 * program alone: this process runs on no preloaded allocator. It allocates nothing and interprets
 * nothing; exit status 0 means that a line was written, whatever became of the program. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kReportFd = 3, kMaxSettings = 32 };

static volatile sig_atomic_t timed_out;
static volatile pid_t child;

static void on_signal(int number) {
  if (number == SIGALRM) timed_out = 1;
  if (child > 0) kill(-child, SIGKILL);
  if (number != SIGALRM) _exit(128 + number);
}

static void complain(const char* what) {
  const char* reason = strerror(errno);
  ssize_t ignored = write(2, "launch: ", 8);
  ignored += write(2, what, strlen(what));
  ignored += write(2, ": ", 2);
  ignored += write(2, reason, strlen(reason));
  ignored += write(2, "\n", 1);
  (void)ignored;
}

static double seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec * 1e-6; }

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* In the child: its own group, only the descriptors 0 to 2, the settings, then the program. */
static void become(char** settings, int count, char** program) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  close(kReportFd);
  for (int i = 0; i < count; i++) putenv(settings[i]);
  execvp(program[0], program);
  complain(program[0]);
  _exit(127);
}

int main(int argc, char** argv) {
  int split = 2;
  while (split < argc && strcmp(argv[split], "--") != 0) split++;
  const long timeout = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
  if (split + 1 >= argc || timeout <= 0 || split - 2 > kMaxSettings) {
    errno = EINVAL;
    complain("usage: launch TIMEOUT_SECONDS [NAME=VALUE ...] -- PROGRAM [ARGUMENT ...]");
    return 2;
  }
  struct sigaction action;
  memset(&action, 0, sizeof(action));
  action.sa_handler = on_signal;
  sigaction(SIGALRM, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);

  const double start = now();
  child = fork();
  if (child < 0) {
    complain("fork");
    return 2;
  }
  if (child == 0) become(argv + 2, split - 2, argv + split + 1);
  setpgid(child, child);
  alarm((unsigned)timeout);

  int status = 0;
  struct rusage usage;
  while (wait4(child, &status, 0, &usage) < 0) {
    if (errno != EINTR) {
      complain("wait4");
      return 2;
    }
  }
  const double wall = now() - start;
  alarm(0);
  kill(-child, SIGKILL); /* whatever it left running in its group */

  char line[512];
  const int length = snprintf(
      line, sizeof(line),
      "{\"wall\":%.6f,\"user\":%.6f,\"system\":%.6f,\"maxrss_kib\":%ld,\"minor_faults\":%ld,"
      "\"major_faults\":%ld,\"voluntary_switches\":%ld,\"involuntary_switches\":%ld,"
      "\"exit\":%d,\"signal\":%d,\"timed_out\":%s}\n",
      wall, seconds(usage.ru_utime), seconds(usage.ru_stime), usage.ru_maxrss, usage.ru_minflt,
      usage.ru_majflt, usage.ru_nvcsw, usage.ru_nivcsw,
      WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0,
      timed_out ? "true" : "false");
  return write(kReportFd, line, (size_t)length) == length ? 0 : 2;
}
