// os/linux/helper_thread.cc: the bare thread runs, is out of the program's way, and ends.
//
// Its code must not use thread-local storage: what runs on it here makes raw system calls
// and writes to atomics only.
#include <errno.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "os/linux/linux_os.h"
#include "os/linux/syscall.h"
#include "sanitizers.h"

namespace carrel::core {
namespace {

std::atomic<int> runs{0};
std::atomic<bool> may_end{true};
std::atomic<std::uint64_t> blocked_signals{0};
std::atomic<std::uint32_t> capabilities{~0u};
std::atomic<long> thread_id{0};

void observe() {
  std::uint64_t mask = 0;
  raw_syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0, reinterpret_cast<long>(&mask), sizeof mask);
  blocked_signals.store(mask);
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  raw_syscall(SYS_capget, reinterpret_cast<long>(&header), reinterpret_cast<long>(data));
  capabilities.store(data[0].effective | data[0].permitted | data[1].effective);
  thread_id.store(raw_syscall(SYS_gettid));
  runs.fetch_add(1);
  std::atomic<std::uint32_t> word{0};
  while (!may_end.load()) LinuxOs::wait(word, 0, 1);
}

template <class Condition>
bool becomes_true(Condition condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return condition();
}

bool task_exists(long id) {
  return ::access(("/proc/self/task/" + std::to_string(id)).c_str(), F_OK) == 0;
}

class HelperThread : public ::testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "the sanitizer's runtime needs thread-local storage";
    runs = 0;
    may_end = true;
  }
  void TearDown() override {
    may_end = true;
    const long id = thread_id.load();
    if (id != 0) {
      EXPECT_TRUE(becomes_true([&] { return !task_exists(id); })) << "it did not end";
    }
  }
};

TEST_F(HelperThread, RunsItsEntryOnce) {
  ASSERT_TRUE(LinuxOs::start_thread(observe));
  EXPECT_TRUE(becomes_true([] { return runs.load() == 1; }));
  EXPECT_NE(thread_id.load(), ::gettid());
}

TEST_F(HelperThread, BlocksEverySignal) {
  ASSERT_TRUE(LinuxOs::start_thread(observe));
  ASSERT_TRUE(becomes_true([] { return runs.load() == 1; }));
  for (int signal = 1; signal <= 64; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    EXPECT_NE(blocked_signals.load() & std::uint64_t{1} << (signal - 1), 0u) << signal;
  }
}

TEST_F(HelperThread, LeavesTheCallersSignalMaskAndErrnoAlone) {
  sigset_t usr1, before, after;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &usr1, nullptr);
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  errno = 4321;
  ASSERT_TRUE(LinuxOs::start_thread(observe));
  EXPECT_EQ(errno, 4321);
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (int signal = 1; signal < 32; ++signal) {
    EXPECT_EQ(sigismember(&before, signal), sigismember(&after, signal)) << signal;
  }
  pthread_sigmask(SIG_UNBLOCK, &usr1, nullptr);
  ASSERT_TRUE(becomes_true([] { return runs.load() == 1; }));
}

TEST_F(HelperThread, HasNoCapabilities) {
  ASSERT_TRUE(LinuxOs::start_thread(observe));
  ASSERT_TRUE(becomes_true([] { return runs.load() == 1; }));
  EXPECT_EQ(capabilities.load(), 0u);
}

TEST_F(HelperThread, IsNamed) {
  may_end = false;
  ASSERT_TRUE(LinuxOs::start_thread(observe));
  ASSERT_TRUE(becomes_true([] { return runs.load() == 1; }));
  char name[32] = {};
  FILE* file =
      fopen(("/proc/self/task/" + std::to_string(thread_id.load()) + "/comm").c_str(), "r");
  ASSERT_NE(file, nullptr);
  EXPECT_NE(fgets(name, sizeof name, file), nullptr);
  fclose(file);
  EXPECT_STREQ(name, "carrel-purge\n");
}

TEST_F(HelperThread, ThereIsAtMostOne) {
  may_end = false;
  ASSERT_TRUE(LinuxOs::start_thread(observe));
  ASSERT_TRUE(becomes_true([] { return runs.load() == 1; }));
  EXPECT_FALSE(LinuxOs::start_thread(observe));
  EXPECT_EQ(runs.load(), 1);
}

TEST_F(HelperThread, AnotherMayFollow) {
  for (int i = 1; i <= 50; ++i) {
    // The last one may still be leaving its stack: start_thread() waits for that.
    ASSERT_TRUE(becomes_true([] { return LinuxOs::start_thread(observe); })) << i;
    ASSERT_TRUE(becomes_true([i] { return runs.load() == i; })) << i;
  }
}

TEST_F(HelperThread, CanBeStartedInAChildAfterFork) {
  may_end = false;
  ASSERT_TRUE(LinuxOs::start_thread(observe));
  ASSERT_TRUE(becomes_true([] { return runs.load() == 1; }));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    LinuxOs::forget_thread();
    may_end = true;
    const bool started = LinuxOs::start_thread(observe);
    ::_exit(started && becomes_true([] { return runs.load() == 2; }) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST_F(HelperThread, TheProcessEndsWithoutWaitingForIt) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    may_end = false;
    ::_exit(LinuxOs::start_thread(observe) && becomes_true([] { return runs.load() == 1; }) ? 7
                                                                                            : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
}

}  // namespace
}  // namespace carrel::core
