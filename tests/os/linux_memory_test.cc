// os/linux/linux_os.cc: what only a real system can be asked: its limits, locked memory,
// the number of mappings, resident pages.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "base/bits.h"
#include "memory_probe.h"
#include "os/linux/linux_os.h"
#include "sanitizers.h"

namespace carrel::core {
namespace {

/// Runs `body` in a child process, which may ruin itself; true if the body says so.
bool in_child(const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body() ? 0 : 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::size_t resident_bytes(void* p, std::size_t bytes) {
  std::vector<unsigned char> flags(bytes / LinuxOs::page_bytes());
  if (::mincore(p, bytes, flags.data()) != 0) return SIZE_MAX;
  std::size_t resident = 0;
  for (const unsigned char flag : flags) resident += (flag & 1) * LinuxOs::page_bytes();
  return resident;
}

long mapping_count() {
  FILE* file = fopen("/proc/self/maps", "r");
  long lines = 0;
  for (int c = 0; (c = fgetc(file)) != EOF;) lines += c == '\n' ? 1 : 0;
  fclose(file);
  return lines;
}

TEST(LinuxMemory, PageSizeIsTheMachines) {
  EXPECT_EQ(LinuxOs::page_bytes(), static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
}

TEST(LinuxMemory, CpusAreThoseThisProcessMayUse) {
  cpu_set_t allowed;
  ASSERT_EQ(::sched_getaffinity(0, sizeof allowed, &allowed), 0);
  EXPECT_EQ(LinuxOs::cpu_count(), static_cast<std::uint32_t>(CPU_COUNT(&allowed)));
  EXPECT_TRUE(in_child([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &allowed)) {
        CPU_SET(cpu, &one);
        break;
      }
    }
    return ::sched_setaffinity(0, sizeof one, &one) == 0 && LinuxOs::cpu_count() == 1;
  }));
}

TEST(LinuxMemory, AddressSpaceLimitIsTheSoftOne) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer's shadow exceeds any limit";
  EXPECT_TRUE(in_child([] {
    const rlimit limit = {.rlim_cur = 3 * kGiB, .rlim_max = 5 * kGiB};
    return LinuxOs::address_space_limit() == SIZE_MAX && ::setrlimit(RLIMIT_AS, &limit) == 0 &&
           LinuxOs::address_space_limit() == 3 * kGiB;
  }));
}

TEST(LinuxMemory, TheLimitIsFeltAsARefusal) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer's shadow exceeds any limit";
  EXPECT_TRUE(in_child([] {
    const rlimit limit = {.rlim_cur = kGiB, .rlim_max = kGiB};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) return false;
    return LinuxOs::reserve(2 * kGiB, LinuxOs::page_bytes()) == nullptr &&
           LinuxOs::map(nullptr, 2 * kGiB) == nullptr && LinuxOs::map(nullptr, kMiB) != nullptr;
  }));
}

TEST(LinuxMemory, ReservationsAndCommitsAreNotResident) {
  constexpr std::size_t kBytes = 64 * kMiB;
  char* p = static_cast<char*>(LinuxOs::reserve(kBytes, 64 * kKiB));
  ASSERT_NE(p, nullptr);
  ASSERT_TRUE(LinuxOs::commit(p, kBytes));
  EXPECT_EQ(resident_bytes(p, kBytes), 0u);
  p[0] = 1;
  EXPECT_EQ(resident_bytes(p, kBytes), LinuxOs::page_bytes());
  LinuxOs::unmap(p, kBytes);
}

TEST(LinuxMemory, PurgedPagesAreGoneAtOnce) {
  constexpr std::size_t kBytes = 8 * kMiB;
  char* p = static_cast<char*>(LinuxOs::map(nullptr, kBytes));
  ASSERT_NE(p, nullptr);
  memset(p, 1, kBytes);
  EXPECT_EQ(resident_bytes(p, kBytes), kBytes);
  ASSERT_TRUE(LinuxOs::purge(p, kBytes / 2));
  EXPECT_EQ(resident_bytes(p, kBytes / 2), 0u);
  EXPECT_EQ(resident_bytes(p + kBytes / 2, kBytes / 2), kBytes / 2);
  LinuxOs::unmap(p, kBytes);
}

TEST(LinuxMemory, LockedMemoryRefusesToBePurged) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer's runtime makes mlock do nothing";
  const std::size_t bytes = 4 * LinuxOs::page_bytes();
  char* p = static_cast<char*>(LinuxOs::map(nullptr, bytes));
  ASSERT_NE(p, nullptr);
  memset(p, 'x', bytes);
  if (::mlock(p, bytes) != 0) GTEST_SKIP() << "this machine lets us lock no memory";
  EXPECT_FALSE(LinuxOs::purge(p, bytes));
  for (std::size_t i = 0; i < bytes; ++i) ASSERT_EQ(p[i], 'x') << i;
  LinuxOs::unmap(p, bytes);
}

TEST(LinuxMemory, MovingTakesTheResidentPagesAlong) {
  constexpr std::size_t kBytes = 4 * kMiB;
  char* from = static_cast<char*>(LinuxOs::map(nullptr, kBytes));
  char* to = static_cast<char*>(LinuxOs::map(nullptr, kBytes));
  memset(from, 1, kBytes / 2);
  ASSERT_TRUE(LinuxOs::move_pages(from, to, kBytes));
  EXPECT_EQ(resident_bytes(from, kBytes), 0u);
  EXPECT_EQ(resident_bytes(to, kBytes), kBytes / 2);
  LinuxOs::unmap(from, kBytes);
  LinuxOs::unmap(to, kBytes);
}

// What moved keeps a mapping of its own for ever; fresh_pages() is there so that a program
// that reallocates a lot doesn't run out of them.
TEST(LinuxMemory, FreshPagesMergeWithTheirNeighbours) {
  constexpr std::size_t kBytes = 2 * kMiB;
  char* area = static_cast<char*>(LinuxOs::map(nullptr, 3 * kBytes));
  char* from = static_cast<char*>(LinuxOs::map(nullptr, kBytes));
  memset(area, 1, 3 * kBytes);
  memset(from, 1, kBytes);
  const long before = mapping_count();
  ASSERT_TRUE(LinuxOs::move_pages(from, area + kBytes, kBytes));
  ASSERT_TRUE(LinuxOs::fresh_pages(area + kBytes, kBytes));
  EXPECT_LE(mapping_count(), before);
  LinuxOs::unmap(area, 3 * kBytes);
  LinuxOs::unmap(from, kBytes);
}

/// Uses up the process's mappings: alternating protections merge with nothing.
bool exhaust_mappings() {
  const std::size_t page = LinuxOs::page_bytes();
  for (;;) {
    char* p = static_cast<char*>(
        ::mmap(nullptr, 8192 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (p == MAP_FAILED) return true;
    for (std::size_t i = 1; i < 8192; i += 2) {
      if (::mprotect(p + i * page, page, PROT_READ) != 0) return true;
    }
  }
}

TEST(LinuxMemory, MovingWithoutMappingsLeftWorksOrChangesNothing) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer's runtime needs mappings of its own";
  EXPECT_TRUE(in_child([] {
    constexpr std::size_t kBytes = 2 * kMiB;
    char* from = static_cast<char*>(LinuxOs::map(nullptr, 3 * kBytes));
    char* to = static_cast<char*>(LinuxOs::map(nullptr, 3 * kBytes));
    memset(from, 1, 3 * kBytes);
    memset(to, 2, 3 * kBytes);
    exhaust_mappings();
    const bool moved = LinuxOs::move_pages(from + kBytes, to + kBytes, kBytes);
    if (!is_readable(to + kBytes) || !is_readable(to + 2 * kBytes - 1)) {
      fprintf(stderr, "moved: %d; the target has lost its memory\n", moved);
      return false;
    }
    if (!is_writable(to + kBytes) || !is_writable(from + kBytes)) return false;
    return moved || (from[kBytes + 1] == 1 && from[2 * kBytes - 1] == 1);
  }));
}

TEST(LinuxMemory, FreshPagesWithoutMappingsLeftWorksOrChangesNothing) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer's runtime needs mappings of its own";
  EXPECT_TRUE(in_child([] {
    constexpr std::size_t kBytes = 2 * kMiB;
    char* p = static_cast<char*>(LinuxOs::map(nullptr, 3 * kBytes));
    memset(p, 1, 3 * kBytes);
    exhaust_mappings();
    const bool fresh = LinuxOs::fresh_pages(p + kBytes, kBytes);
    if (!is_readable(p + kBytes) || !is_writable(p + kBytes)) return false;
    return fresh ? is_zero(p + kBytes, kBytes) : p[kBytes + 1] == 1;
  }));
}

TEST(LinuxMemory, CommitWithoutMappingsLeftIsRefusedCleanly) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer's runtime needs mappings of its own";
  EXPECT_TRUE(in_child([] {
    const std::size_t page = LinuxOs::page_bytes();
    char* p = static_cast<char*>(LinuxOs::reserve(64 * page, page));
    if (!LinuxOs::commit(p, page)) return false;
    p[0] = 1;
    exhaust_mappings();
    // Next to what is committed no further mapping is needed; in the middle two are.
    if (!LinuxOs::commit(p + page, page) || !is_zero(p + page, page)) return false;
    const bool committed = LinuxOs::commit(p + 8 * page, page);
    return p[0] == 1 && committed == is_readable(p + 8 * page);
  }));
}

TEST(LinuxMessages, GoToStandardError) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    LinuxOs::write_stderr("carrel: hello\nnot this", 14);
    LinuxOs::abort();
  }
  ::close(ends[1]);
  char text[64] = {};
  EXPECT_EQ(::read(ends[0], text, sizeof text - 1), 14);
  EXPECT_STREQ(text, "carrel: hello\n");
  ::close(ends[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) << status;
}

}  // namespace
}  // namespace carrel::core
