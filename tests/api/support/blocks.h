// What the GoogleTest suites share: sizes worth trying, patterns, errno, child processes.
//
// For the suites under tests/api only; plain programs use check.h.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "check.h"

namespace api_test {

inline constexpr std::size_t kKiB = std::size_t{1} << 10;
inline constexpr std::size_t kMiB = std::size_t{1} << 20;
inline constexpr std::size_t kGiB = std::size_t{1} << 30;

/// A value for errno that no function of the C library sets.
inline constexpr int kErrnoMark = 0x5a5a;

/// Requests no allocator can serve: all above PTRDIFF_MAX, plus PTRDIFF_MAX itself, which
/// exceeds every address space of today.
inline const std::vector<std::size_t>& impossible_sizes() {
  static const std::vector<std::size_t> sizes = {PTRDIFF_MAX,
                                                 std::size_t{PTRDIFF_MAX} + 1,
                                                 std::size_t{PTRDIFF_MAX} + 4096,
                                                 SIZE_MAX - 2 * kMiB,
                                                 SIZE_MAX - 65536,
                                                 SIZE_MAX - 4096,
                                                 SIZE_MAX - 4095,
                                                 SIZE_MAX - 64,
                                                 SIZE_MAX - 16,
                                                 SIZE_MAX - 15,
                                                 SIZE_MAX - 1,
                                                 SIZE_MAX};
  return sizes;
}

/// Every size to 1,100, then the neighbourhood of each power of two and of the quarters
/// between, up to `limit`.
inline std::vector<std::size_t> interesting_sizes(std::size_t limit) {
  std::vector<std::size_t> sizes;
  for (std::size_t size = 0; size <= 1100 && size <= limit; ++size) sizes.push_back(size);
  for (std::size_t base = 1024; base <= limit; base *= 2) {
    for (std::size_t quarter = 4; quarter < 8; ++quarter) {
      const std::size_t middle = base / 4 * quarter;
      for (std::size_t size : {middle - 16, middle - 1, middle, middle + 1, middle + 16}) {
        if (size <= limit) sizes.push_back(size);
      }
    }
  }
  return sizes;
}

inline bool is_aligned(const void* block, std::size_t alignment) {
  return (reinterpret_cast<std::uintptr_t>(block) & (alignment - 1)) == 0;
}

inline bool is_zero(const void* block, std::size_t size) {
  const auto* bytes = static_cast<const unsigned char*>(block);
  return size == 0 || (bytes[0] == 0 && std::memcmp(bytes, bytes + 1, size - 1) == 0);
}

/// Writes (and later checks) a word pattern, quick enough for hundreds of MiB.
inline void fill_words(void* block, std::size_t size, std::uint64_t seed) {
  auto* bytes = static_cast<unsigned char*>(block);
  std::size_t offset = 0;
  for (; offset + 8 <= size; offset += 8) {
    const std::uint64_t word = (seed + offset) * 0x9E3779B97F4A7C15ull;
    std::memcpy(bytes + offset, &word, 8);
  }
  for (; offset < size; ++offset) bytes[offset] = static_cast<unsigned char>(seed + offset);
}

/// The first offset that differs from fill_words(block, filled, seed), looking at the first
/// `size` bytes; `size` when none does. `size` <= `filled`.
inline std::size_t first_difference(const void* block, std::size_t size, std::size_t filled,
                                    std::uint64_t seed) {
  const auto* bytes = static_cast<const unsigned char*>(block);
  const std::size_t words_end = filled / 8 * 8;
  for (std::size_t offset = 0; offset < size; ++offset) {
    if (offset % 8 == 0 && offset + 8 <= size && offset + 8 <= words_end) {
      const std::uint64_t expected = (seed + offset) * 0x9E3779B97F4A7C15ull;
      std::uint64_t word;
      std::memcpy(&word, bytes + offset, 8);
      if (word == expected) {
        offset += 7;
        continue;
      }
    }
    unsigned char expected = static_cast<unsigned char>(seed + offset);
    if (offset < words_end) {
      const std::size_t start = offset / 8 * 8;
      const std::uint64_t word = (seed + start) * 0x9E3779B97F4A7C15ull;
      std::memcpy(&expected, reinterpret_cast<const unsigned char*>(&word) + offset % 8, 1);
    }
    if (bytes[offset] != expected) return offset;
  }
  return size;
}

/// How a child process ended and what it wrote.
struct ChildResult {
  int exit_code = -1;  // -1 when a signal ended it
  int signal = 0;
  std::string out;
  std::string err;
};

/// Runs `body` in a forked child that ends with its return value (0 is success). Checks of
/// check.h are what a body should use: GoogleTest's don't reach the parent.
template <class Body>
int exit_code_of_child(Body body) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(body());
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

namespace detail {
inline std::string read_all(int file) {
  std::string text;
  char buffer[4096];
  lseek(file, 0, SEEK_SET);
  for (ssize_t got; (got = read(file, buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<std::size_t>(got));
  }
  close(file);
  return text;
}

inline int temporary_file() {
  char name[] = "/tmp/carrel-test-XXXXXX";
  const int file = mkstemp(name);
  if (file >= 0) unlink(name);
  return file;
}
}  // namespace detail

/// Runs `body` in a child with standard output and standard error caught in files.
template <class Body>
ChildResult capture_child(Body body) {
  const int out = detail::temporary_file();
  const int err = detail::temporary_file();
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    alarm(60);
    body();
    std::fflush(nullptr);
    _exit(0);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  ChildResult result;
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  result.out = detail::read_all(out);
  result.err = detail::read_all(err);
  return result;
}

/// Runs a program with the given CARREL_OPTIONS (null: unset).
inline ChildResult run_program(std::initializer_list<const char*> command, const char* options) {
  std::vector<char*> arguments;
  for (const char* argument : command) arguments.push_back(const_cast<char*>(argument));
  arguments.push_back(nullptr);
  return capture_child([&] {
    if (options == nullptr) {
      unsetenv("CARREL_OPTIONS");
    } else {
      setenv("CARREL_OPTIONS", options, 1);
    }
    execv(arguments[0], arguments.data());
    _exit(126);
  });
}

}  // namespace api_test
