// The C library's allocation functions, with glibc's semantics, on carrel's heap.
//
// All of them stand in one file, so that a static program that takes one takes all.
#include <errno.h>
#include <stdlib.h>

#include "api/instance.h"
#include "api/requests.h"

using carrel::core::process_heap;
namespace core = carrel::core;

#define CARREL_EXPORT extern "C" __attribute__((visibility("default")))

CARREL_EXPORT void* malloc(size_t size) {
  return process_heap.malloc<core::allocated_or_errno>(size);
}

CARREL_EXPORT void free(void* block) { process_heap.free(block); }

CARREL_EXPORT void* calloc(size_t count, size_t size) { return core::zeroed_or_errno(count, size); }

CARREL_EXPORT void* realloc(void* block, size_t size) {
  if (block == nullptr) return process_heap.malloc<core::allocated_or_errno>(size);
  return core::resized_or_errno(block, size);
}

CARREL_EXPORT void* reallocarray(void* block, size_t count, size_t size) {
  size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) return core::out_of_memory();
  return core::resized_or_errno(block, bytes);
}

// memalign rounds an alignment up to a power of two, as glibc does.
CARREL_EXPORT void* memalign(size_t alignment, size_t size) {
  if (alignment > SIZE_MAX / 2 + 1) {
    errno = EINVAL;
    return nullptr;
  }
  return core::aligned_or_errno(std::bit_ceil(alignment), size);
}

CARREL_EXPORT void* aligned_alloc(size_t alignment, size_t size) {
  if (!core::is_power_of_two(alignment)) {
    errno = EINVAL;
    return nullptr;
  }
  return core::aligned_or_errno(alignment, size);
}

CARREL_EXPORT int posix_memalign(void** result, size_t alignment, size_t size) {
  if (!core::is_power_of_two(alignment) || alignment % sizeof(void*) != 0) return EINVAL;
  void* block =
      size > core::kMaxRequestBytes ? nullptr : process_heap.aligned_allocate(alignment, size);
  if (block == nullptr) return ENOMEM;
  *result = block;
  return 0;
}

CARREL_EXPORT void* valloc(size_t size) {
  return core::aligned_or_errno(core::ProcessOs::page_bytes(), size);
}

CARREL_EXPORT void* pvalloc(size_t size) {
  const size_t page = core::ProcessOs::page_bytes();
  if (size > core::kMaxRequestBytes) return core::out_of_memory();
  return core::aligned_or_errno(page, core::align_up(size, page));
}

CARREL_EXPORT size_t malloc_usable_size(void* block) {
  return block == nullptr ? 0 : process_heap.usable_size(block);
}

// The sizes are not needed to find a block's class, and programs get them wrong: only a hardened
// build looks at them.
CARREL_EXPORT void free_sized(void* block, size_t size) {
  process_heap.check_size(block, size);
  process_heap.free(block);
}
CARREL_EXPORT void free_aligned_sized(void* block, size_t alignment, size_t size) {
  process_heap.check_size(block, size);
  process_heap.check_alignment(block, alignment);
  process_heap.free(block);
}

CARREL_EXPORT int malloc_trim(size_t) { return process_heap.purge() != 0 ? 1 : 0; }
