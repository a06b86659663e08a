// os/mutex.h: exclusion, waking and the state around fork, on Linux and on the simulated
// system.
#include "os/mutex.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "os/fake/fake_os.h"
#include "os/linux/linux_os.h"
#include "sanitizers.h"

namespace carrel::core {
namespace {

template <class Os>
class MutexTest : public ::testing::Test {
 protected:
  MutexTest() { FakeOs::reset(); }
  Mutex<Os> mutex_;
};
using Systems = ::testing::Types<LinuxOs, FakeOs>;
TYPED_TEST_SUITE(MutexTest, Systems);

static_assert(sizeof(Mutex<LinuxOs>) == 4);

TYPED_TEST(MutexTest, IsUsableWhenAllZero) {
  alignas(Mutex<TypeParam>) unsigned char bytes[sizeof(Mutex<TypeParam>)] = {};
  auto& mutex = *reinterpret_cast<Mutex<TypeParam>*>(bytes);
  EXPECT_TRUE(mutex.try_lock());
  mutex.unlock();
}

TYPED_TEST(MutexTest, TryLockFailsWhileHeld) {
  ASSERT_TRUE(this->mutex_.try_lock());
  EXPECT_FALSE(this->mutex_.try_lock());
  this->mutex_.unlock();
  EXPECT_TRUE(this->mutex_.try_lock());
  this->mutex_.unlock();
}

TYPED_TEST(MutexTest, GuardHoldsForItsScope) {
  {
    LockGuard guard(this->mutex_);
    EXPECT_FALSE(this->mutex_.try_lock());
  }
  EXPECT_TRUE(this->mutex_.try_lock());
  this->mutex_.unlock();
}

TYPED_TEST(MutexTest, ExcludesThreads) {
  constexpr int kThreads = 8;
  constexpr int kRounds = 20'000;
  int inside = 0;  // deliberately not atomic: the lock is what protects it
  long total = 0;
  bool overlapped = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        LockGuard guard(this->mutex_);
        overlapped = overlapped || ++inside != 1;
        ++total;
        --inside;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(overlapped);
  EXPECT_EQ(total, long{kThreads} * kRounds);
}

// Holding the lock for longer than anyone spins makes every waiter sleep; if one wake-up
// were lost this would hang.
TYPED_TEST(MutexTest, SleepersAreWoken) {
  constexpr int kThreads = 6;
  constexpr int kRounds = 15;
  int total = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        LockGuard guard(this->mutex_);
        std::this_thread::sleep_for(std::chrono::microseconds(300));
        ++total;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(total, kThreads * kRounds);
  EXPECT_TRUE(this->mutex_.try_lock()) << "free once everybody is done";
  this->mutex_.unlock();
}

TEST(MutexOnFake, ALockWithoutRivalsNeverCallsTheSystem) {
  FakeOs::reset();
  Mutex<FakeOs> mutex;
  for (int i = 0; i < 100; ++i) {
    mutex.lock();
    mutex.unlock();
  }
  EXPECT_EQ(FakeOs::calls(OsCall::kWait), 0u);
}

TEST(MutexOnLinux, IsFreeInAChildAfterReset) {
  if (kThreadSanitizer) GTEST_SKIP() << "the runtime forbids threads' locks across fork";
  Mutex<LinuxOs> mutex;
  mutex.lock();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const bool was_held = !mutex.try_lock();
    mutex.reset_after_fork();
    ::_exit(was_held && mutex.try_lock() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  mutex.unlock();
}

}  // namespace
}  // namespace carrel::core
