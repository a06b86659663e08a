// Memory that cannot be touched, randomness, and whether there are other threads, on Linux. For
// hardened builds.
#include <linux/random.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include <cstring>

#include "base/bits.h"
#include "os/linux/linux_os.h"
#include "os/linux/syscall.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102  // Linux 6.13
#define MADV_GUARD_REMOVE 103
#endif

// glibc's since 2.32: cleared before a second thread is started. Elsewhere absent. Under a name of
// its own, as the C++ library's headers may declare it too.
extern "C" const char libc_single_threaded __asm__("__libc_single_threaded") __attribute__((weak));

namespace carrel::core {
namespace {

/// Beyond this, changing the mapping is cheaper than marking page by page.
constexpr std::size_t kMarkedBytes = 1 * kMiB;

/// Some range was fenced by its mapping's protection. Only ever set; relaxed: who unfences a range
/// learned of it by something that orders this too.
std::atomic<bool> protection_used{false};

long call(long number, void* p, std::size_t bytes, long what) {
  return raw_syscall(number, static_cast<long>(address_of(p)), static_cast<long>(bytes), what);
}

}  // namespace

bool LinuxOs::fence(void* p, std::size_t bytes) {
  // Marks in the page tables need no mapping of their own. Before 6.13, and in locked memory,
  // they are refused.
  if (bytes <= kMarkedBytes && !is_error(call(SYS_madvise, p, bytes, MADV_GUARD_INSTALL))) {
    return true;
  }
  protection_used.store(true, std::memory_order_relaxed);
  if (is_error(call(SYS_mprotect, p, bytes, PROT_NONE))) return false;  // too many mappings
  if (!is_error(call(SYS_madvise, p, bytes, MADV_DONTNEED))) return true;
  call(SYS_mprotect, p, bytes, PROT_READ | PROT_WRITE);
  return false;
}

bool LinuxOs::unfence(void* p, std::size_t bytes) {
  const bool removed = !is_error(call(SYS_madvise, p, bytes, MADV_GUARD_REMOVE));
  if (removed && !protection_used.load(std::memory_order_relaxed)) return true;
  return !is_error(call(SYS_mprotect, p, bytes, PROT_READ | PROT_WRITE));
}

const char* LinuxOs::alone_flag() {
  static constexpr char kNeverAlone = 0;
  return &libc_single_threaded == nullptr ? &kNeverAlone : &libc_single_threaded;
}

std::uint64_t LinuxOs::random_word() {
  std::uint64_t word = 0;
  const long got =
      raw_syscall(SYS_getrandom, reinterpret_cast<long>(&word), sizeof word, GRND_NONBLOCK);
  if (got == static_cast<long>(sizeof word)) return word;
  // Early in the system's life, or in a sandbox: what the kernel gave the process at its start.
  static std::atomic<std::uint64_t> calls{0};
  const auto* given = at_address<const char>(getauxval(AT_RANDOM));
  if (given != nullptr) memcpy(&word, given + 8, sizeof word);
  word ^= now_ms() + calls.fetch_add(0x9E3779B97F4A7C15, std::memory_order_relaxed);
  return word * 0xD6E8FEB86659FD93;
}

}  // namespace carrel::core
