/* Checks for test programs that must not carry a test framework (it would allocate before
 * them, or keep them from being static). A failed check prints one line and exits with 1.
 *
 * Usable from C11 and C++20, glibc and musl. Reports without allocating. Not for the
 * GoogleTest suites, and no way to go on after a failure. */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Exit status that ctest counts as "skipped" (SKIP_RETURN_CODE): say why before using it. */
enum { kExitSkipped = 77 };

static inline void say(const char* line) {
  size_t length = strlen(line);
  while (length > 0) {
    ssize_t written = write(STDERR_FILENO, line, length);
    if (written <= 0) return;
    line += written;
    length -= (size_t)written;
  }
}

__attribute__((noreturn, cold)) static inline void check_failed(const char* file, int line,
                                                                const char* what) {
  char text[512];
  int error = errno;
  snprintf(text, sizeof text, "%s:%d: check failed in process %d: %s (errno %d)\n", file, line,
           (int)getpid(), what, error);
  say(text);
  _exit(1);
}

__attribute__((noreturn, cold)) static inline void check_failed_values(const char* file, int line,
                                                                       const char* what,
                                                                       long long left,
                                                                       long long right) {
  char text[512];
  snprintf(text, sizeof text, "%s [%lld against %lld]", what, left, right);
  check_failed(file, line, text);
}

#define CHECK(condition)                                            \
  do {                                                              \
    if (!(condition)) check_failed(__FILE__, __LINE__, #condition); \
  } while (0)

#define CHECK_COMPARE(left, op, right)                                                            \
  do {                                                                                            \
    long long check_left = (long long)(left);                                                     \
    long long check_right = (long long)(right);                                                   \
    if (!(check_left op check_right)) {                                                           \
      check_failed_values(__FILE__, __LINE__, #left " " #op " " #right, check_left, check_right); \
    }                                                                                             \
  } while (0)

#define CHECK_EQ(left, right) CHECK_COMPARE(left, ==, right)
#define CHECK_LE(left, right) CHECK_COMPARE(left, <=, right)
#define CHECK_GE(left, right) CHECK_COMPARE(left, >=, right)
#define CHECK_LT(left, right) CHECK_COMPARE(left, <, right)

/* Values the compiler can't see through: sizes it would warn about, pairs it would elide. */
static inline size_t opaque_size(size_t value) {
  __asm__ volatile("" : "+r"(value));
  return value;
}

static inline void* opaque_pointer(void* pointer) {
  __asm__ volatile("" : "+r"(pointer) : : "memory");
  return pointer;
}

/* Writes a pattern that depends on `seed` and the offset; checks it again. */
static inline void fill_block(void* block, size_t size, uint32_t seed) {
  unsigned char* bytes = (unsigned char*)block;
  for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)(seed * 31u + i * 7u + (i >> 8));
}

static inline int block_is_intact(const void* block, size_t size, uint32_t seed) {
  const unsigned char* bytes = (const unsigned char*)block;
  for (size_t i = 0; i < size; i++) {
    if (bytes[i] != (unsigned char)(seed * 31u + i * 7u + (i >> 8))) return 0;
  }
  return 1;
}

/* A small generator (xorshift64*): the tests want reproducible, not good, numbers. */
static inline uint64_t next_random(uint64_t* state) {
  uint64_t x = *state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  *state = x;
  return x * 0x2545F4914F6CDD1Dull;
}
