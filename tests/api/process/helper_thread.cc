// The helper thread's manners: not there until memory waits to be purged, every signal
// blocked, never the one to run a program's handler, started again in a forked child, and
// no hindrance to exit.
#include <dirent.h>
#include <signal.h>
#include <sys/syscall.h>

#include "../support/check.h"
#include "../support/child.h"
#include "../support/override.h"
#include "../support/proc.h"

namespace {

constexpr int kBlocks = 100000;
void* blocks[kBlocks];

void burst() {
  for (void*& block : blocks) {
    block = malloc(700);
    CHECK(block != nullptr);
    memset(block, 1, 700);
  }
  for (void* block : blocks) free(block);
}

/// The id of a thread other than the caller's, 0 when there is none.
pid_t other_thread() {
  const pid_t own = static_cast<pid_t>(syscall(SYS_gettid));
  DIR* directory = opendir("/proc/self/task");
  CHECK(directory != nullptr);
  pid_t found = 0;
  while (const dirent* entry = readdir(directory)) {
    const pid_t id = static_cast<pid_t>(atoi(entry->d_name));
    if (id > 0 && id != own) found = id;
  }
  closedir(directory);
  return found;
}

pid_t wait_for_helper() {
  for (int i = 0; i < 100; ++i) {
    if (const pid_t helper = other_thread()) return helper;
    sleep_ms(10);
  }
  return 0;
}

void check_mask(pid_t helper) {
  char path[64];
  char value[64];
  snprintf(path, sizeof path, "/proc/self/task/%d/status", static_cast<int>(helper));
  CHECK(proc_text(path, "SigBlk:", value, sizeof value));
  const unsigned long long blocked = strtoull(value, nullptr, 16);
  for (int number = 1; number <= 64; ++number) {
    // Nothing can block the first two; the C library keeps the next two for itself.
    if (number == SIGKILL || number == SIGSTOP || number == 32 || number == 33) continue;
    if ((blocked >> (number - 1) & 1) == 0) {
      fprintf(stderr, "signal %d is not blocked in the helper thread (SigBlk %s)\n", number, value);
      _exit(1);
    }
  }
}

volatile sig_atomic_t handler_ran;
volatile pid_t handler_thread;

void on_signal(int) {
  handler_thread = static_cast<pid_t>(syscall(SYS_gettid));
  handler_ran = 1;
}

/// A signal to the process waits for the only thread that may take it.
void check_delivery() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  CHECK_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  CHECK_EQ(sigprocmask(SIG_BLOCK, &set, nullptr), 0);
  CHECK_EQ(kill(getpid(), SIGUSR1), 0);
  sleep_ms(100);
  CHECK(!handler_ran);
  CHECK_EQ(sigprocmask(SIG_UNBLOCK, &set, nullptr), 0);
  CHECK(handler_ran);
  CHECK_EQ(handler_thread, syscall(SYS_gettid));
}

}  // namespace

int main() {
  require_override();
  for (int i = 0; i < 1000; ++i) free(malloc(static_cast<size_t>(i)));
  CHECK_EQ(thread_count(), 1);
  burst();
  const pid_t helper = wait_for_helper();
  CHECK(helper != 0);
  CHECK_EQ(thread_count(), 2);
  check_mask(helper);
  check_delivery();
  burst();
  CHECK_LE(thread_count(), 2);

  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    CHECK_EQ(thread_count(), 1);
    const long base_kib = rss_kib();
    burst();
    const pid_t childs_helper = wait_for_helper();
    CHECK(childs_helper != 0);
    check_mask(childs_helper);
    sleep_ms(1000);
    CHECK_LE(rss_kib(), base_kib + 8192);
    exit(0);
  }
  expect_success(child, 20);
  return 0;
}
