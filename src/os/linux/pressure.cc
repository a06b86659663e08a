// Whether memory is short for the control group that this process belongs to (cgroup version 2),
// or for the machine: read from the kernel's files, anew each time, since limits change and a
// process may be moved.
//
// Short is: some group that contains this process has a limit (memory.max or memory.high) and
// seven eighths of it are memory that cannot simply be dropped (`anon` in memory.stat, unlike the
// page cache that memory.current counts too); or tasks of its own group, or without one of the
// machine, spent a tenth of the last ten seconds waiting for memory (`some avg10` of the
// pressure file). Only raw system calls: the helper thread has no errno.
#include <fcntl.h>
#include <string.h>

#include "os/linux/linux_os.h"
#include "os/linux/syscall.h"

namespace carrel::core {
namespace {

constexpr const char kGroups[] = "/sys/fs/cgroup";
constexpr std::size_t kMaxPath = 512;
constexpr std::size_t kMaxText = 512;
constexpr std::uint64_t kNoNumber = UINT64_MAX;
constexpr std::uint64_t kMuchWaiting = 10;  // percent

/// The first bytes of a file, as a string; empty if it cannot be read.
struct FileText {
  char text[kMaxText];

  explicit FileText(const char* path) {
    text[0] = '\0';
    const long file = raw_syscall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path),
                                  O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (is_error(file)) return;
    const long size = raw_syscall(SYS_read, file, reinterpret_cast<long>(text), sizeof text - 1);
    text[is_error(size) ? 0 : size] = '\0';
    raw_syscall(SYS_close, file);
  }
};

/// The number that `text` begins with; kNoNumber for "max" and whatever else is none.
std::uint64_t leading_number(const char* text) {
  if (*text < '0' || *text > '9') return kNoNumber;
  std::uint64_t value = 0;
  for (; *text >= '0' && *text <= '9'; ++text) {
    value = value * 10 + static_cast<std::uint64_t>(*text - '0');
  }
  return value;
}

/// The number behind `key` in a text.
std::uint64_t number_after(const char* text, const char* key) {
  const char* found = strstr(text, key);
  return found == nullptr ? kNoNumber : leading_number(found + strlen(key));
}

/// A group's folder, to which file names are added; shortened to visit the groups around it.
class GroupPath {
 public:
  /// From /proc/self/cgroup, whose line for version 2 is "0::" and the path.
  GroupPath() {
    memcpy(path_, kGroups, sizeof kGroups);
    size_ = sizeof kGroups - 1;
    const FileText groups("/proc/self/cgroup");
    const char* line = groups.text;
    while (line != nullptr && strncmp(line, "0::/", 4) != 0) {
      line = strchr(line, '\n');
      if (line != nullptr) ++line;
    }
    if (line == nullptr) return;
    line += 3;
    const char* end = strchr(line, '\n');
    if (end == nullptr) return;  // longer than what was read
    const auto length = static_cast<std::size_t>(end - line);
    memcpy(path_ + size_, line, length);
    size_ += length;
    while (path_[size_ - 1] == '/') --size_;
  }

  const char* file(const char* name) {
    path_[size_] = '/';
    strcpy(path_ + size_ + 1, name);
    return path_;
  }

  /// False at the outermost.
  bool leave() {
    if (size_ <= sizeof kGroups - 1) return false;
    while (path_[size_] != '/') --size_;
    return true;
  }

 private:
  char path_[sizeof kGroups + kMaxText + kMaxPath];
  std::size_t size_;
};

/// Whether this group's limit is nearly reached.
bool is_nearly_full(GroupPath& group) {
  std::uint64_t limit = leading_number(FileText(group.file("memory.max")).text);
  const std::uint64_t high = leading_number(FileText(group.file("memory.high")).text);
  if (high < limit) limit = high;
  if (limit == kNoNumber) return false;
  const std::uint64_t used = number_after(FileText(group.file("memory.stat")).text, "anon ");
  return used != kNoNumber && used / 7 >= limit / 8;
}

bool is_waiting(const FileText& pressure) {
  const std::uint64_t percent = number_after(pressure.text, "some avg10=");
  return percent != kNoNumber && percent >= kMuchWaiting;
}

}  // namespace

bool LinuxOs::memory_is_short() {
  GroupPath group;
  const FileText own(group.file("memory.pressure"));
  if (own.text[0] != '\0' ? is_waiting(own) : is_waiting(FileText("/proc/pressure/memory"))) {
    return true;
  }
  do {
    if (is_nearly_full(group)) return true;
  } while (group.leave());
  return false;
}

}  // namespace carrel::core
