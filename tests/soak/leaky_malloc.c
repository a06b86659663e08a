/* A malloc that forgets to free one in four blocks from 256 bytes on: soak_smoke.py wants a soak
 * run on it to fail. It is carrel under other names; preload it. Here are the C functions, and as
 * much of operator new and delete as the proof of an allocator asks for.
 */
#include <carrel/carrel.h>
#include <errno.h>
#include <stddef.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT void* malloc(size_t size) { return carrel_malloc(size); }
EXPORT void* calloc(size_t count, size_t size) { return carrel_calloc(count, size); }
EXPORT void* aligned_alloc(size_t alignment, size_t size) {
  return carrel_aligned_alloc(alignment, size);
}
EXPORT void* memalign(size_t alignment, size_t size) {
  return carrel_aligned_alloc(alignment, size);
}
EXPORT int posix_memalign(void** out, size_t alignment, size_t size) {
  void* block = carrel_aligned_alloc(alignment, size);
  if (block == NULL) return ENOMEM;
  *out = block;
  return 0;
}
EXPORT void* realloc(void* block, size_t size) { return carrel_realloc(block, size); }
EXPORT size_t malloc_usable_size(void* block) { return carrel_usable_size(block); }
EXPORT void free(void* block) {
  static unsigned count;
  if (block != NULL && carrel_usable_size(block) >= 256 &&
      __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED) % 4 == 0) {
    return;
  }
  carrel_free(block);
}

/* operator new(size_t) and operator delete(void*) */
EXPORT void* _Znwm(size_t size) { return carrel_malloc(size); }
EXPORT void _ZdlPv(void* block) { free(block); }
