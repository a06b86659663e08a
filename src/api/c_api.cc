// The carrel_ functions that allocate and free; what they promise is in include/carrel/carrel.h.
#include <carrel/carrel.h>
#include <errno.h>

#include "api/instance.h"
#include "api/requests.h"

using carrel::core::process_heap;
namespace core = carrel::core;

extern "C" {

void* carrel_malloc(size_t size) { return process_heap.malloc<core::allocated_or_errno>(size); }

void* carrel_calloc(size_t count, size_t size) { return core::zeroed_or_errno(count, size); }

void* carrel_aligned_alloc(size_t alignment, size_t size) {
  if (!core::is_power_of_two(alignment)) {
    errno = EINVAL;
    return nullptr;
  }
  return core::aligned_or_errno(alignment, size);
}

void carrel_free(void* block) { process_heap.free(block); }
void carrel_free_sized(void* block, size_t size) {
  process_heap.check_size(block, size);
  process_heap.free(block);
}
void carrel_free_sized_aligned(void* block, size_t size, size_t alignment) {
  process_heap.check_size(block, size);
  process_heap.check_alignment(block, alignment);
  process_heap.free(block);
}

void* carrel_realloc(void* block, size_t size) {
  if (block == nullptr) return process_heap.malloc<core::allocated_or_errno>(size);
  return core::resized_or_errno(block, size);
}

void* carrel_realloc_sized_aligned(void* block, size_t old_size, size_t new_size,
                                   size_t alignment) {
  if (!core::is_power_of_two(alignment)) {
    errno = EINVAL;
    return nullptr;
  }
  if (new_size > core::kMaxRequestBytes) return core::out_of_memory();
  process_heap.check_size(block, old_size);
  void* result = process_heap.reallocate(block, new_size == 0 ? 1 : new_size, alignment);
  return CARREL_LIKELY(result != nullptr) ? result : core::out_of_memory();
}

size_t carrel_usable_size(const void* block) {
  return block == nullptr ? 0 : process_heap.usable_size(block);
}

size_t carrel_good_size(size_t size) { return process_heap.good_size(size); }

}  // extern "C"
