/* What every death program shares: it names the pointer it is about to misuse, and survives
 * only when nothing was noticed.
 *
 * One program, one misuse. The expected code stands in CMakeLists.txt; expect_death.py
 * compares it, and the pointer, with the message. */
#pragma once

#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Prints the pointer that the report must name. */
static inline void misuse(const void* pointer) {
  char line[64];
  int length = snprintf(line, sizeof line, "misused 0x%lx\n", (unsigned long)(uintptr_t)pointer);
  if (write(STDOUT_FILENO, line, (size_t)length) != length) _exit(3);
}

/* Hides where a pointer comes from, so that the compiler can't reason about the misuse. */
static inline void* hidden(void* pointer) {
  __asm__ volatile("" : "+r"(pointer) : : "memory");
  return pointer;
}

/* With option guard_sample=1: a block between guard pages. A thread's first one is none. */
static inline char* sampled(size_t size) {
  char* block = NULL;
  for (int i = 0; i < 64; i++) {
    block = (char*)malloc(size);
    if (block == NULL) _exit(3);
  }
  return block;
}

/* Frees so many blocks of `size` that what the cache holds must be flushed. `blocks` were
 * allocated before the misuse: a malloc after it could hand the block out again. */
enum { kFlushBlocks = 5000 };

static inline void allocate_for_flush(void** blocks, size_t size) {
  for (int i = 0; i < kFlushBlocks; i++) {
    blocks[i] = malloc(size);
    if (blocks[i] == NULL) _exit(3);
  }
}

static inline void flush_by_frees(void** blocks) {
  for (int i = 0; i < kFlushBlocks; i++) free(blocks[i]);
}

static inline void run_in_thread(void* (*body)(void*), void* argument) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, body, argument) != 0) _exit(3);
  pthread_join(thread, NULL);
}
