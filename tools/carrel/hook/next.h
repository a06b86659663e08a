// The functions behind the hook: what the allocator that serves the program calls its own.
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <sys/types.h>

#include <new>

namespace carrel::tools::hook {

struct Next {
  void* (*malloc)(size_t);
  void* (*calloc)(size_t, size_t);
  void* (*realloc)(void*, size_t);
  void (*free)(void*);
  int (*posix_memalign)(void**, size_t, size_t);
  void* (*aligned_alloc)(size_t, size_t);
  void* (*memalign)(size_t, size_t);
  int (*pthread_create)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  int (*pthread_join)(pthread_t, void**);
  pid_t (*fork)();
};

extern Next next;

// Looks the functions up, in the preloaded hook, and attaches to the recorder; once, from the first
// call of any of them. Calls that arrive while it is at work are served from a small static arena.
void resolve_next();

// For operator new and delete, which a program may come to have later (libstdc++ loaded with a
// plug-in): the next definition of `name`, also in libraries that are not in the global scope. Ends
// the process with a message if there is none. Only the preloaded hook has it.
void* find_operator(const char* name);

}  // namespace carrel::tools::hook
