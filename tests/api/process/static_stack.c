/* In a static executable, without a loader: carrel follows the stack by itself, through frames that
 * it has tables for, and finds what libgcc's unwinder finds. */
#include <carrel/carrel.h>
#include <link.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unwind.h>

#include "../support/check.h"

/* Of the library's inside: LinuxOs::load_unwinder and stack_trace. */
_Bool load_unwinder(void) __asm__("_ZN6carrel4core7LinuxOs13load_unwinderEv");
size_t stack_trace(const void** frames,
                   size_t capacity) __asm__("_ZN6carrel4core7LinuxOs11stack_traceEPPKvm");

enum { kMostFrames = 128 };

struct stack {
  const void* frames[kMostFrames];
  size_t count;
};

static _Unwind_Reason_Code add(struct _Unwind_Context* context, void* argument) {
  struct stack* stack = argument;
  const void* address = (const void*)_Unwind_GetIP(context);
  if (address == NULL || stack->count == kMostFrames) return _URC_END_OF_STACK;
  stack->frames[stack->count++] = address;
  return _URC_NO_REASON;
}

#ifdef WITHOUT_DL_FIND_OBJECT
/* What a libgcc that was built for glibc asks of it, for a C library that has none. */
struct found_object {
  unsigned long long flags;
  void* start;
  void* end;
  void* link_map;
  void* index;
  unsigned long long reserved[7];
};
static int fill_in(struct dl_phdr_info* object, size_t size, void* argument) {
  struct found_object* found = argument;
  (void)size;
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)* segment = &object->dlpi_phdr[i];
    if (segment->p_type == PT_GNU_EH_FRAME)
      found->index = (void*)(object->dlpi_addr + segment->p_vaddr);
  }
  return 1;
}
/* And what it calls by a weak reference alone. */
int (*const linked_for_libgcc)(pthread_once_t*, void (*)(void)) = pthread_once;
int _dl_find_object(void* address, struct found_object* found);
int _dl_find_object(void* address, struct found_object* found) {
  (void)address;
  found->index = NULL;
  dl_iterate_phdr(fill_in, found);
  return found->index == NULL ? -1 : 0;
}
#endif

static volatile int sink;

__attribute__((noinline)) static void compare(void) {
  const void* here = __builtin_return_address(0);
  struct stack own = {.count = stack_trace(own.frames, kMostFrames)};
  struct stack other = {.count = 0};
  _Unwind_Backtrace(add, &other);
  size_t first = 0;
  size_t other_first = 0;
  while (first < own.count && own.frames[first] != here) ++first;
  while (other_first < other.count && other.frames[other_first] != here) ++other_first;
  CHECK(own.count - first == other.count - other_first);
  CHECK(own.count - first > 30);
  for (size_t i = first; i < own.count; ++i) {
    CHECK(own.frames[i] == other.frames[i - first + other_first]);
  }
}

__attribute__((noinline)) static int recurse(int depth) {
  volatile char bytes[64];
  bytes[depth] = 1;
  if (depth == 0) {
    compare();
    return sink;
  }
  return recurse(depth - 1) + bytes[depth];
}

static void* run(void* argument) {
  sink = recurse(40) & 0;
  return argument;
}

int main(void) {
  CHECK(load_unwinder());
  for (int i = 0; i < 3; ++i) {
    run(NULL);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
  }
  printf("carrel %s\n", carrel_version());
  return 0;
}
