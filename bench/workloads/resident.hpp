// Reads this process's own resident memory without calling the allocator, for the workloads that
// ask what an idle process still holds.
#pragma once

#include "bench.hpp"

namespace bench {

// The whole of a small /proc file into a buffer on the stack; the number of bytes.
inline std::size_t read_proc(const char* path, char* buffer, std::size_t capacity) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) die("cannot open %s", path);
  std::size_t length = 0;
  while (length + 1 < capacity) {
    const ssize_t got = read(fd, buffer + length, capacity - 1 - length);
    if (got <= 0) break;
    length += static_cast<std::size_t>(got);
  }
  close(fd);
  buffer[length] = '\0';
  return length;
}

inline double resident_bytes() {
  char text[256];
  read_proc("/proc/self/statm", text, sizeof(text));
  char* second = std::strchr(text, ' ');
  if (second == nullptr) die("/proc/self/statm has an unknown form");
  return static_cast<double>(std::strtoull(second, nullptr, 10)) *
         static_cast<double>(sysconf(_SC_PAGESIZE));
}

// Pages that the process gave away with MADV_FREE and that still count as resident; 0 when the
// kernel does not say.
inline double lazily_free_bytes() {
  char text[4096];
  if (access("/proc/self/smaps_rollup", R_OK) != 0) return 0;
  read_proc("/proc/self/smaps_rollup", text, sizeof(text));
  const char* line = std::strstr(text, "LazyFree:");
  return line == nullptr ? 0 : static_cast<double>(std::strtoull(line + 9, nullptr, 10)) * 1024;
}

// Adds the process's resident memory at several moments of doing nothing to the report. No call
// into the allocator happens meanwhile.
inline void sample_idle(Report& report, double idle_seconds) {
  constexpr double kMoments[] = {0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0};
  const double start = now_seconds();
  double last = 0;
  for (const double moment : kMoments) {
    if (moment > idle_seconds + 1e-9) break;
    sleep_until(start + moment);
    last = resident_bytes();
    char name[32];
    std::snprintf(name, sizeof(name), "rss_at_%.0f_ms", moment * 1000);
    report.add(name, last);
  }
  report.add("rss_at_end", last);
  report.add("lazy_free_at_end", lazily_free_bytes());
}

}  // namespace bench
