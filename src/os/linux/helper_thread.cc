// The helper thread on Linux: a bare kernel thread instead of a pthread.
//
// pthread_create may allocate and takes locks of the C library that a caller of free()
// can already hold, so it cannot be called from inside an allocator; and it would tell the
// C library that the process is multi-threaded, which slows single-threaded programs down.
// A bare thread has neither cost. In exchange its code must not touch thread-local
// storage, errno or anything of the C library that does; everything below os/ obeys that
// by using raw system calls. The thread blocks every signal, drops all capabilities, and
// is meant to end when there is nothing to do, so that it never outlives a change of
// credentials for long. See docs/decisions/0003-bare-helper-thread.md.
#include <errno.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/bits.h"
#include "os/linux/linux_os.h"
#include "os/linux/syscall.h"

namespace carrel::core {
namespace {

constexpr std::size_t kStackBytes = 64 * kKiB;

/// What the thread pointer of the helper refers to: enough of a thread control block for
/// compiler-generated code (the self pointer, the stack protector's canary) to read.
struct alignas(64) FakeThreadBlock {
  char below[512];
  void* self;
  void* vector;
  void* self_again;
  char above[512];
};

FakeThreadBlock fake_block;

/// The kernel clears it and wakes its sleepers once the thread has left its stack.
std::atomic<std::uint32_t> thread_alive{0};
char* stack = nullptr;

int thread_main(void* entry) {
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct nothing[2] = {};
  raw_syscall(SYS_capset, reinterpret_cast<long>(&header), reinterpret_cast<long>(nothing));
  raw_syscall(SYS_prctl, PR_SET_NAME, reinterpret_cast<long>("carrel-purge"));
  reinterpret_cast<void (*)()>(entry)();
  return 0;
}

}  // namespace

bool LinuxOs::start_thread(void (*entry)()) {
  // A predecessor that has decided to end may still be on the stack, for microseconds. In
  // a child made by a bare fork system call it is gone without a trace: hence the limit.
  const std::uint32_t alive = thread_alive.load(std::memory_order_acquire);
  if (alive != 0) {
    timespec limit = {.tv_sec = 0, .tv_nsec = 10'000'000};
    raw_syscall(SYS_futex, reinterpret_cast<long>(&thread_alive), FUTEX_WAIT, alive,
                reinterpret_cast<long>(&limit));
    if (thread_alive.load(std::memory_order_acquire) != 0) return false;
  }
  if (stack == nullptr) {
    stack = static_cast<char*>(map(nullptr, kStackBytes));
    if (stack == nullptr) return false;
  }
  fake_block.self = &fake_block.self;
  fake_block.self_again = &fake_block.self;

  std::uint64_t all = ~std::uint64_t{0};
  std::uint64_t previous = 0;
  raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&all),
              reinterpret_cast<long>(&previous), sizeof all);
  thread_alive.store(1, std::memory_order_relaxed);
  const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                    CLONE_SYSVSEM | CLONE_SETTLS | CLONE_CHILD_CLEARTID;
  const int saved_errno = errno;
  const int thread = clone(thread_main, stack + kStackBytes, flags, reinterpret_cast<void*>(entry),
                           nullptr, &fake_block.self, reinterpret_cast<int*>(&thread_alive));
  errno = saved_errno;
  if (thread < 0) thread_alive.store(0, std::memory_order_relaxed);
  raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&previous), 0, sizeof all);
  return thread >= 0;
}

void LinuxOs::forget_thread() { thread_alive.store(0, std::memory_order_relaxed); }

}  // namespace carrel::core
