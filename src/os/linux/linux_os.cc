// Memory, time, sleeping and messages on Linux, by raw system calls. The helper thread is
// in helper_thread.cc, the environment in environment.cc.
#include "os/linux/linux_os.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "os/linux/syscall.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4  // Linux 5.7; older C libraries' headers lack the name
#endif

namespace carrel::core {
namespace {

long as_long(const void* p) { return static_cast<long>(address_of(p)); }
long as_long(std::size_t n) { return static_cast<long>(n); }

void* mmap_pages(void* hint, std::size_t bytes, int protection, int extra_flags) {
  const long result = raw_syscall(SYS_mmap, as_long(hint), as_long(bytes), protection,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | extra_flags, -1, 0);
  return is_error(result) ? nullptr : at_address<void>(static_cast<std::uintptr_t>(result));
}

}  // namespace

std::size_t LinuxOs::page_bytes() {
  static std::atomic<std::size_t> cached{0};  // the same value from whichever thread
  std::size_t bytes = cached.load(std::memory_order_relaxed);
  if (bytes == 0) {
    bytes = getauxval(AT_PAGESZ);
    cached.store(bytes, std::memory_order_relaxed);
  }
  return bytes;
}

std::uint32_t LinuxOs::cpu_count() {
  unsigned long mask[128] = {};  // 8,192 CPUs
  const long bytes =
      raw_syscall(SYS_sched_getaffinity, 0, sizeof mask, reinterpret_cast<long>(mask));
  std::uint32_t count = 0;
  if (!is_error(bytes)) {
    // No std::popcount: for most processors it is a call into the compiler's library.
    for (unsigned long word : mask) {
      for (; word != 0; word &= word - 1) ++count;
    }
  }
  return count == 0 ? 1 : count;
}

std::size_t LinuxOs::address_space_limit() {
  struct {
    std::uint64_t current;
    std::uint64_t maximum;
  } limit{};  // the kernel's struct rlimit64
  const long result = raw_syscall(SYS_prlimit64, 0, RLIMIT_AS, 0, reinterpret_cast<long>(&limit));
  if (is_error(result) || limit.current == ~std::uint64_t{0}) return SIZE_MAX;
  return limit.current;
}

std::uint64_t LinuxOs::now_ms() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);  // answered without entering the kernel
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

void* LinuxOs::reserve(std::size_t bytes, std::size_t align) {
  const std::size_t slack = align > page_bytes() ? align : 0;
  auto* start = static_cast<char*>(mmap_pages(nullptr, bytes + slack, PROT_NONE, 0));
  if (start == nullptr) return nullptr;
  char* aligned = at_address<char>(align_up(address_of(start), align));
  if (aligned != start) unmap(start, static_cast<std::size_t>(aligned - start));
  const auto tail = static_cast<std::size_t>(start + bytes + slack - (aligned + bytes));
  if (tail != 0) unmap(aligned + bytes, tail);
  return aligned;
}

bool LinuxOs::commit(void* p, std::size_t bytes) {
  return !is_error(raw_syscall(SYS_mprotect, as_long(p), as_long(bytes), PROT_READ | PROT_WRITE));
}

void* LinuxOs::map(void* hint, std::size_t bytes) {
  return mmap_pages(hint, bytes, PROT_READ | PROT_WRITE, 0);
}

void LinuxOs::unmap(void* p, std::size_t bytes) {
  raw_syscall(SYS_munmap, as_long(p), as_long(bytes));
}

bool LinuxOs::purge(void* p, std::size_t bytes) {
  return !is_error(raw_syscall(SYS_madvise, as_long(p), as_long(bytes), MADV_DONTNEED));
}

void LinuxOs::populate(void* p, std::size_t bytes) {
  // Since Linux 5.14; not in the headers of older systems, on which the program may run all the
  // same. What refuses it once is asked no more: for want of memory the faults come one by one.
  constexpr long kPopulateWrite = 23;
  static std::atomic<bool> refused{false};
  if (refused.load(std::memory_order_relaxed)) return;
  if (is_error(raw_syscall(SYS_madvise, as_long(p), as_long(bytes), kPopulateWrite))) {
    refused.store(true, std::memory_order_relaxed);
  }
}

bool LinuxOs::move_pages(void* from, void* to, std::size_t bytes) {
  // Growth that no address space can grant: EFAULT says that the source is more than one
  // mapping, which kernels before 6.17 find out only after they have unmapped the target.
  constexpr std::size_t kImpossibleBytes = std::size_t{1} << 55;
  if (raw_syscall(SYS_mremap, as_long(from), as_long(bytes), as_long(bytes + kImpossibleBytes)) ==
      -EFAULT) {
    return false;
  }
  const long result = raw_syscall(SYS_mremap, as_long(from), as_long(bytes), as_long(bytes),
                                  MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, as_long(to));
  if (!is_error(result)) return true;
  // Other refusals, such as for want of memory, can come after the target was unmapped. What
  // is missing of it is mapped again; where nothing is, this too is refused.
  raw_syscall(SYS_mmap, as_long(to), as_long(bytes), PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  return false;
}

bool LinuxOs::fresh_pages(void* p, std::size_t bytes) {
  return mmap_pages(p, bytes, PROT_READ | PROT_WRITE, MAP_FIXED) != nullptr;
}

void LinuxOs::advise_huge(void* p, std::size_t bytes, bool wanted) {
  raw_syscall(SYS_madvise, as_long(p), as_long(bytes), wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

bool LinuxOs::collapse_dense(void* p, std::size_t bytes) {
  constexpr std::size_t kMostPages = 512;
  unsigned char resident[kMostPages];
  const std::size_t pages = bytes / page_bytes();
  if (pages == 0 || pages > kMostPages ||
      is_error(
          raw_syscall(SYS_mincore, as_long(p), as_long(bytes), reinterpret_cast<long>(resident)))) {
    return false;
  }
  std::size_t count = 0;
  for (std::size_t page = 0; page < pages; ++page) count += resident[page] & 1u;
  if (count < pages - pages / 16) return false;
  return !is_error(raw_syscall(SYS_madvise, as_long(p), as_long(bytes), MADV_COLLAPSE));
}

void LinuxOs::wait(std::atomic<std::uint32_t>& word, std::uint32_t expected,
                   std::uint32_t timeout_ms) {
  timespec timeout = {.tv_sec = timeout_ms / 1000,
                      .tv_nsec = static_cast<long>(timeout_ms % 1000) * 1'000'000};
  raw_syscall(SYS_futex, reinterpret_cast<long>(&word), FUTEX_WAIT_PRIVATE, expected,
              timeout_ms == 0 ? 0 : reinterpret_cast<long>(&timeout));
}

void LinuxOs::wake(std::atomic<std::uint32_t>& word, std::uint32_t count) {
  raw_syscall(SYS_futex, reinterpret_cast<long>(&word), FUTEX_WAKE_PRIVATE, count);
}

void LinuxOs::yield() { raw_syscall(SYS_sched_yield); }

void LinuxOs::write_stderr(const char* text, std::size_t size) {
  raw_syscall(SYS_write, STDERR_FILENO, reinterpret_cast<long>(text), as_long(size));
}

void LinuxOs::abort() { ::abort(); }

}  // namespace carrel::core
