// Memory faults of the program, on their way to ending it, on Linux: a handler for SIGSEGV that
// shows them to who can explain them and then lets the process die as it would have.
//
// It is only installed where there is none, and does not stay where a fault passed: the signal is
// queued again with the default action in force, so that the process ends with the registers, the
// address and the core file that it would have had. A program that installs a handler of its own
// later replaces this one; one that then calls what was there before ends here.
#include <errno.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/bits.h"
#include "os/linux/linux_os.h"
#include "os/linux/syscall.h"

namespace carrel::core {
namespace {

std::atomic<void (*)(const MemoryFault&)> explain_fault{nullptr};
/// The process of which a thread is at it (not a child's of fork); others that fault meanwhile wait
/// for the end.
std::atomic<long> explaining{0};

MemoryFault fault_of(const siginfo_t* info, const void* context) {
  const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  constexpr long kWriteBit = 2;
  return {.address = info->si_addr,
          .code = at_address<const void>(static_cast<std::uintptr_t>(machine.gregs[REG_RIP])),
          .access = (machine.gregs[REG_ERR] & kWriteBit) != 0 ? MemoryFault::Access::kWrite
                                                              : MemoryFault::Access::kRead};
#else
  return {.address = info->si_addr,
          .code = at_address<const void>(machine.pc),
          .access = MemoryFault::Access::kUnknown};
#endif
}

void die_by_default(siginfo_t* info) {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  sigaction(SIGSEGV, &action, nullptr);
  // Blocked while this handler runs, and delivered when it returns.
  raw_syscall(SYS_rt_tgsigqueueinfo, raw_syscall(SYS_getpid), raw_syscall(SYS_gettid), SIGSEGV,
              reinterpret_cast<long>(info));
}

void on_fault(int, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  if (info->si_code > 0) {  // the kernel's, not another process's
    const long process = raw_syscall(SYS_getpid);
    if (explaining.exchange(process) == process) {
      for (;;) raw_syscall(SYS_pause);
    }
    explain_fault.load(std::memory_order_acquire)(fault_of(info, context));
    explaining.store(0);
  }
  die_by_default(info);
  errno = saved_errno;
}

}  // namespace

bool LinuxOs::watch_faults(void (*explain)(const MemoryFault& fault)) {
  struct sigaction now = {};
  if (sigaction(SIGSEGV, nullptr, &now) != 0) return false;
  if ((now.sa_flags & SA_SIGINFO) != 0 || now.sa_handler != SIG_DFL) return false;
  explain_fault.store(explain, std::memory_order_release);
  struct sigaction mine = {};
  mine.sa_sigaction = on_fault;
  mine.sa_flags = SA_SIGINFO | SA_ONSTACK;
  return sigaction(SIGSEGV, &mine, nullptr) == 0;
}

}  // namespace carrel::core
