// Looks up the functions behind the hook, and the arena that serves while that is under way.
#include "hook/next.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>

#include "hook/early.h"
#include "hook/record.h"

namespace carrel::tools::hook {

Next next;

namespace {

alignas(64) char arena[64 << 10];
std::atomic<size_t> arena_used{0};
std::atomic<bool> resolving{false};

template <typename Function>
void find(Function& function, const char* name) {
  function = reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

void* early_allocate(size_t size, size_t alignment) {
  if (alignment < 16) alignment = 16;
  // The size stands before the block, for realloc.
  size_t used = arena_used.load(std::memory_order_relaxed);
  for (;;) {
    const size_t start = (used + 16 + alignment - 1) / alignment * alignment;
    if (size > sizeof(arena) || start + size > sizeof(arena)) return nullptr;
    if (arena_used.compare_exchange_weak(used, start + size, std::memory_order_relaxed)) {
      *reinterpret_cast<size_t*>(arena + start - 16) = size;
      return arena + start;
    }
  }
}

bool is_early(const void* block) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(block);
  const uintptr_t start = reinterpret_cast<uintptr_t>(arena);
  return address - start < sizeof(arena);
}

size_t early_size(const void* block) {
  return *reinterpret_cast<const size_t*>(static_cast<const char*>(block) - 16);
}

void resolve_next() {
  // A second thread cannot be here before the first has allocated; what comes back while this runs
  // is dlsym's own need, and finds next.malloc still null.
  if (resolving.exchange(true, std::memory_order_acquire)) return;
  Next found;
  find(found.malloc, "malloc");
  find(found.calloc, "calloc");
  find(found.realloc, "realloc");
  find(found.free, "free");
  find(found.posix_memalign, "posix_memalign");
  find(found.aligned_alloc, "aligned_alloc");
  find(found.memalign, "memalign");
  find(found.pthread_create, "pthread_create");
  find(found.pthread_join, "pthread_join");
  find(found.fork, "fork");
  if (found.malloc == nullptr || found.calloc == nullptr || found.realloc == nullptr ||
      found.free == nullptr || found.posix_memalign == nullptr) {
    static constexpr char kMessage[] =
        "carrel: the recording library finds no malloc behind it; preload an allocator that has "
        "malloc, calloc, realloc, free and posix_memalign\n";
    const ssize_t ignored = write(2, kMessage, sizeof(kMessage) - 1);
    static_cast<void>(ignored);
    _exit(126);
  }
  next = found;
  attach();
}

void* find_later(const char* name) {
  void* found = dlsym(RTLD_NEXT, name);
  if (found != nullptr) return found;
  void* const runtime = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
  if (runtime != nullptr) {
    found = dlsym(runtime, name);
    dlclose(runtime);
  }
  return found;
}

}  // namespace carrel::tools::hook
