// Reading one environment variable, also before the C library has set `environ`: in a
// preloaded library the dynamic linker's own allocations come first.
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "os/linux/linux_os.h"
#include "os/linux/syscall.h"

extern "C" char** environ;

namespace carrel::core {
namespace {

/// Copies the value of `entry` ("NAME=value") if it is the variable `name`.
std::size_t copy_if_named(const char* entry, const char* name, char* buffer, std::size_t capacity) {
  const std::size_t name_size = strlen(name);
  if (strncmp(entry, name, name_size) != 0 || entry[name_size] != '=') return 0;
  const char* value = entry + name_size + 1;
  const std::size_t size = strlen(value);
  if (size + 1 > capacity) return 0;
  memcpy(buffer, value, size + 1);
  return size;
}

/// The same from /proc, in pieces: an entry longer than the window is skipped.
std::size_t copy_from_proc(const char* name, char* buffer, std::size_t capacity) {
  const long fd = raw_syscall(SYS_openat, AT_FDCWD, reinterpret_cast<long>("/proc/self/environ"),
                              O_RDONLY | O_CLOEXEC);
  if (is_error(fd)) return 0;
  char window[2048];
  std::size_t filled = 0;
  std::size_t found = 0;
  bool skipping = false;  // inside an entry whose start was dropped
  while (found == 0) {
    const long got = raw_syscall(SYS_read, fd, reinterpret_cast<long>(window + filled),
                                 static_cast<long>(sizeof window - filled));
    if (got <= 0) break;
    filled += static_cast<std::size_t>(got);
    std::size_t start = 0;
    while (found == 0) {
      const void* end = memchr(window + start, '\0', filled - start);
      if (end == nullptr) break;
      if (!skipping) found = copy_if_named(window + start, name, buffer, capacity);
      skipping = false;
      start = static_cast<std::size_t>(static_cast<const char*>(end) - window) + 1;
    }
    if (start == 0 && filled == sizeof window) {
      skipping = true;
      filled = 0;
    } else {
      memmove(window, window + start, filled - start);
      filled -= start;
    }
  }
  raw_syscall(SYS_close, fd);
  return found;
}

}  // namespace

std::size_t LinuxOs::environment(const char* name, char* buffer, std::size_t capacity) {
  if (getauxval(AT_SECURE) != 0) return 0;
  if (environ == nullptr) return copy_from_proc(name, buffer, capacity);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::size_t size = copy_if_named(*entry, name, buffer, capacity);
    if (size != 0) return size;
  }
  return 0;
}

}  // namespace carrel::core
