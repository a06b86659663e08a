// Asks the kernel whether memory can be touched, without touching it from here: a bad
// address is an error number instead of a crash.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstddef>

namespace carrel::core {

/// Whether one byte at `p` can be read.
inline bool is_readable(const void* p) {
  int ends[2];
  if (::pipe(ends) != 0) return false;
  const bool readable = ::write(ends[1], p, 1) == 1;
  ::close(ends[0]);
  ::close(ends[1]);
  return readable;
}

/// Whether one byte at `p` can be written; it becomes zero.
inline bool is_writable(void* p) {
  const int zeros = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  const bool writable = ::read(zeros, p, 1) == 1;
  ::close(zeros);
  return writable;
}

/// Whether every byte of a readable range is zero.
inline bool is_zero(const void* p, std::size_t bytes) {
  const char* at = static_cast<const char*>(p);
  for (std::size_t i = 0; i < bytes; ++i) {
    if (at[i] != 0) return false;
  }
  return true;
}

}  // namespace carrel::core
