// The allocation functions as the program sees them: each calls the next definition behind it, with
// the gauge around. Before those are known (dlsym itself allocates), a small static arena serves.
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include <new>

#include "advise/gauge/gauge.h"

using carrel::tools::gauge::Inside;
using carrel::tools::gauge::Kind;

#define CARREL_GAUGE_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

alignas(16) char early[64 << 10];
size_t early_used;

bool is_early(const void* block) {
  return block >= static_cast<const void*>(early) &&
         block < static_cast<const void*>(early + sizeof early);
}

// A word before each block holds its size.
void* early_block(size_t size) {
  const size_t start = early_used + 16;
  const size_t end = (start + size + 15) & ~size_t{15};
  if (end < size || end > sizeof early) return nullptr;
  memcpy(early + start - sizeof size, &size, sizeof size);
  early_used = end;
  return early + start;
}

size_t early_size(const void* block) {
  size_t size;
  memcpy(&size, static_cast<const char*>(block) - sizeof size, sizeof size);
  return size;
}

template <typename Function>
Function find_next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

struct Next {
  void* (*malloc)(size_t);
  void* (*calloc)(size_t, size_t);
  void* (*realloc)(void*, size_t);
  void (*free)(void*);
  int (*posix_memalign)(void**, size_t, size_t);
  void* (*aligned_alloc)(size_t, size_t);
  void* (*memalign)(size_t, size_t);
  void* (*valloc)(size_t);
  void* (*pvalloc)(size_t);
  void* (*reallocarray)(void*, size_t, size_t);
  int (*pthread_create)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
};
Next next;
bool resolving;

// The first call comes from the dynamic linker or a constructor, before there are threads.
bool ready() {
  if (next.free != nullptr) [[likely]]
    return true;
  if (resolving) return false;
  resolving = true;
  next.malloc = find_next<decltype(next.malloc)>("malloc");
  next.calloc = find_next<decltype(next.calloc)>("calloc");
  next.realloc = find_next<decltype(next.realloc)>("realloc");
  next.posix_memalign = find_next<decltype(next.posix_memalign)>("posix_memalign");
  next.aligned_alloc = find_next<decltype(next.aligned_alloc)>("aligned_alloc");
  next.memalign = find_next<decltype(next.memalign)>("memalign");
  next.valloc = find_next<decltype(next.valloc)>("valloc");
  next.pvalloc = find_next<decltype(next.pvalloc)>("pvalloc");
  next.reallocarray = find_next<decltype(next.reallocarray)>("reallocarray");
  next.pthread_create = find_next<decltype(next.pthread_create)>("pthread_create");
  next.free = find_next<decltype(next.free)>("free");
  resolving = false;
  return next.free != nullptr;
}

void* no_memory() {
  errno = ENOMEM;
  return nullptr;
}

struct Start {
  void* (*routine)(void*);
  void* argument;
};

void* start_thread(void* place) {
  const Start start = *static_cast<Start*>(place);
  next.free(place);
  carrel::tools::gauge::arm();
  return start.routine(start.argument);
}

}  // namespace

CARREL_GAUGE_EXPORT void* malloc(size_t size) {
  if (!ready()) return early_block(size);
  const Inside inside(Kind::kAllocation);
  return next.malloc(size);
}

CARREL_GAUGE_EXPORT void* calloc(size_t count, size_t size) {
  if (!ready()) {
    size_t all;
    return __builtin_mul_overflow(count, size, &all) ? no_memory() : early_block(all);
  }
  const Inside inside(Kind::kAllocation);
  return next.calloc(count, size);
}

CARREL_GAUGE_EXPORT void* realloc(void* block, size_t size) {
  if (!ready() || is_early(block)) [[unlikely]] {
    void* fresh = next.malloc != nullptr && !resolving ? next.malloc(size) : early_block(size);
    if (fresh != nullptr && block != nullptr) {
      const size_t old = early_size(block);
      memcpy(fresh, block, old < size ? old : size);
    }
    return fresh;
  }
  const Inside inside(Kind::kAllocation);
  return next.realloc(block, size);
}

CARREL_GAUGE_EXPORT void free(void* block) {
  if (block == nullptr || is_early(block) || !ready()) return;
  const Inside inside(Kind::kFree);
  next.free(block);
}

CARREL_GAUGE_EXPORT int posix_memalign(void** place, size_t alignment, size_t size) {
  if (!ready() || next.posix_memalign == nullptr) return ENOMEM;
  const Inside inside(Kind::kAllocation);
  return next.posix_memalign(place, alignment, size);
}

CARREL_GAUGE_EXPORT void* aligned_alloc(size_t alignment, size_t size) {
  if (!ready() || next.aligned_alloc == nullptr) return no_memory();
  const Inside inside(Kind::kAllocation);
  return next.aligned_alloc(alignment, size);
}

CARREL_GAUGE_EXPORT void* memalign(size_t alignment, size_t size) {
  if (!ready() || next.memalign == nullptr) return no_memory();
  const Inside inside(Kind::kAllocation);
  return next.memalign(alignment, size);
}

CARREL_GAUGE_EXPORT void* valloc(size_t size) {
  if (!ready() || next.valloc == nullptr) return no_memory();
  const Inside inside(Kind::kAllocation);
  return next.valloc(size);
}

CARREL_GAUGE_EXPORT void* pvalloc(size_t size) {
  if (!ready() || next.pvalloc == nullptr) return no_memory();
  const Inside inside(Kind::kAllocation);
  return next.pvalloc(size);
}

CARREL_GAUGE_EXPORT void* reallocarray(void* block, size_t count, size_t size) {
  if (is_early(block) || !ready() || next.reallocarray == nullptr) {
    size_t all;
    return __builtin_mul_overflow(count, size, &all) ? no_memory() : realloc(block, all);
  }
  const Inside inside(Kind::kAllocation);
  return next.reallocarray(block, count, size);
}

// Every thread gets its timer, also one that never allocates: its CPU time is the program's too.
CARREL_GAUGE_EXPORT int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                                       void* (*routine)(void*), void* argument) {
  if (!ready() || next.pthread_create == nullptr) return EAGAIN;
  auto* start = static_cast<Start*>(next.malloc(sizeof(Start)));
  if (start == nullptr) return EAGAIN;
  *start = {routine, argument};
  const int status = next.pthread_create(thread, attributes, start_thread, start);
  if (status != 0) next.free(start);
  return status;
}

// operator new and delete by their link names; sizes are unsigned long on every target of carrel's.
// libstdc++'s own end in malloc and free above, an allocator's own don't. Looked up at first use:
// a C program has none, and may load a C++ library later.
#define CARREL_GAUGE_NEW(name, parameters, arguments)                              \
  CARREL_GAUGE_EXPORT void* name parameters {                                      \
    static void*(*const function)parameters = find_cxx<void*(*)parameters>(#name); \
    const Inside inside(Kind::kAllocation);                                        \
    return function arguments;                                                     \
  }
#define CARREL_GAUGE_DELETE(name, parameters, arguments)                           \
  CARREL_GAUGE_EXPORT void name parameters {                                       \
    static void(*const function) parameters = find_cxx<void(*) parameters>(#name); \
    const Inside inside(Kind::kFree);                                              \
    function arguments;                                                            \
  }

namespace {

// A plug-in's libstdc++ may lie outside the global scope, where RTLD_NEXT does not look.
template <typename Function>
Function find_cxx(const char* name) {
  auto function = find_next<Function>(name);
  if (function == nullptr) {
    void* library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
    if (library != nullptr) function = reinterpret_cast<Function>(dlsym(library, name));
  }
  if (function == nullptr) __builtin_trap();
  return function;
}

using Tag = const std::nothrow_t&;

}  // namespace

// clang-format off
CARREL_GAUGE_NEW(_Znwm, (size_t size), (size))
CARREL_GAUGE_NEW(_Znam, (size_t size), (size))
CARREL_GAUGE_NEW(_ZnwmRKSt9nothrow_t, (size_t size, Tag tag), (size, tag))
CARREL_GAUGE_NEW(_ZnamRKSt9nothrow_t, (size_t size, Tag tag), (size, tag))
CARREL_GAUGE_NEW(_ZnwmSt11align_val_t, (size_t size, size_t align), (size, align))
CARREL_GAUGE_NEW(_ZnamSt11align_val_t, (size_t size, size_t align), (size, align))
CARREL_GAUGE_NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, (size_t size, size_t align, Tag tag),
                 (size, align, tag))
CARREL_GAUGE_NEW(_ZnamSt11align_val_tRKSt9nothrow_t, (size_t size, size_t align, Tag tag),
                 (size, align, tag))
CARREL_GAUGE_DELETE(_ZdlPv, (void* block), (block))
CARREL_GAUGE_DELETE(_ZdaPv, (void* block), (block))
CARREL_GAUGE_DELETE(_ZdlPvm, (void* block, size_t size), (block, size))
CARREL_GAUGE_DELETE(_ZdaPvm, (void* block, size_t size), (block, size))
CARREL_GAUGE_DELETE(_ZdlPvRKSt9nothrow_t, (void* block, Tag tag), (block, tag))
CARREL_GAUGE_DELETE(_ZdaPvRKSt9nothrow_t, (void* block, Tag tag), (block, tag))
CARREL_GAUGE_DELETE(_ZdlPvSt11align_val_t, (void* block, size_t align), (block, align))
CARREL_GAUGE_DELETE(_ZdaPvSt11align_val_t, (void* block, size_t align), (block, align))
CARREL_GAUGE_DELETE(_ZdlPvmSt11align_val_t, (void* block, size_t size, size_t align),
                    (block, size, align))
CARREL_GAUGE_DELETE(_ZdaPvmSt11align_val_t, (void* block, size_t size, size_t align),
                    (block, size, align))
CARREL_GAUGE_DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, (void* block, size_t align, Tag tag),
                    (block, align, tag))
CARREL_GAUGE_DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, (void* block, size_t align, Tag tag),
                    (block, align, tag))
// clang-format on
