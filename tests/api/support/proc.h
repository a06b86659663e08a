/* What the kernel says about this process: resident memory, threads, time. Reads /proc with
 * a buffer on the stack and no allocation, so that measuring does not change the heap.
 *
 * Linux only; C11 and C++20. Not a general /proc parser. */
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The text after "key" at the start of a line of `path`, copied to `value`. 1 when found. */
static inline int proc_text(const char* path, const char* key, char* value, size_t capacity) {
  char text[16384];
  size_t length = 0;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  for (;;) {
    ssize_t got = read(file, text + length, sizeof text - 1 - length);
    if (got <= 0) break;
    length += (size_t)got;
  }
  close(file);
  text[length] = '\0';
  size_t key_length = strlen(key);
  for (char* line = text; line != NULL && *line != '\0';) {
    char* end = strchr(line, '\n');
    if (strncmp(line, key, key_length) == 0) {
      if (end != NULL) *end = '\0';
      snprintf(value, capacity, "%s", line + key_length);
      return 1;
    }
    line = end == NULL ? NULL : end + 1;
  }
  return 0;
}

/* A decimal field, or -1 when it is not there. */
static inline long proc_number(const char* path, const char* key) {
  char value[128];
  return proc_text(path, key, value, sizeof value) ? strtol(value, NULL, 10) : -1;
}

/* Resident KiB, counted exactly by walking the page tables. */
static inline long rss_kib(void) { return proc_number("/proc/self/smaps_rollup", "Rss:"); }

/* KiB that are resident but given to MADV_FREE: memory hidden from view, not returned. */
static inline long lazy_free_kib(void) {
  return proc_number("/proc/self/smaps_rollup", "LazyFree:");
}

static inline long thread_count(void) { return proc_number("/proc/self/status", "Threads:"); }

static inline void sleep_ms(long ms) {
  struct timespec wait = {ms / 1000, (ms % 1000) * 1000000L};
  while (nanosleep(&wait, &wait) != 0) {
  }
}

static inline long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (long)(now.tv_sec * 1000 + now.tv_nsec / 1000000);
}
