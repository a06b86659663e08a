// Writing a file by system calls alone, for heap profiles. Results are the kernel's: a negative
// value is an error number.
#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include "os/linux/linux_os.h"
#include "os/linux/syscall.h"

namespace carrel::core {

long LinuxOs::create_file(const char* path, bool must_be_new) {
  const int how = must_be_new ? O_EXCL | O_NOFOLLOW : O_TRUNC;
  return raw_syscall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path),
                     O_WRONLY | O_CREAT | O_CLOEXEC | how, 0600);
}

long LinuxOs::write_file(long file, const void* data, std::size_t size) {
  const auto* from = static_cast<const char*>(data);
  while (size != 0) {
    const long written =
        raw_syscall(SYS_write, file, reinterpret_cast<long>(from), static_cast<long>(size));
    if (written == -EINTR) continue;
    if (is_error(written)) return written;
    from += written;
    size -= static_cast<std::size_t>(written);
  }
  return 0;
}

long LinuxOs::close_file(long file) { return raw_syscall(SYS_close, file); }

std::uint64_t LinuxOs::process_id() { return static_cast<std::uint64_t>(raw_syscall(SYS_getpid)); }

namespace {
std::uint64_t read_clock_ns(clockid_t clock) {
  timespec now = {};
  clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}
}  // namespace

std::uint64_t LinuxOs::wall_clock_ns() { return read_clock_ns(CLOCK_REALTIME); }

std::uint64_t LinuxOs::steady_clock_ns() { return read_clock_ns(CLOCK_MONOTONIC); }

}  // namespace carrel::core
