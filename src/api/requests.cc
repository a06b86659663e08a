// Requests that set errno; see requests.h.
#include "api/requests.h"

#include <errno.h>

#include "api/instance.h"

namespace carrel::core {

void* out_of_memory() {
  errno = ENOMEM;
  return nullptr;
}

void* allocated_or_errno(std::size_t size) {
  void* block = process_heap.allocate_slow(size);
  return CARREL_LIKELY(block != nullptr) ? block : out_of_memory();
}

void* zeroed_or_errno(std::size_t count, std::size_t size) {
  std::size_t bytes = 0;
  if (CARREL_UNLIKELY(__builtin_mul_overflow(count, size, &bytes))) return out_of_memory();
  void* block = process_heap.zero_allocate(bytes);
  return CARREL_LIKELY(block != nullptr) ? block : out_of_memory();
}

void* resized_or_errno(void* block, std::size_t size) {
  if (CARREL_UNLIKELY(size == 0 && block != nullptr)) {
    process_heap.free(block);
    return nullptr;
  }
  void* result = process_heap.reallocate(block, size, kSlotAlignment);
  return CARREL_LIKELY(result != nullptr) ? result : out_of_memory();
}

void* aligned_or_errno(std::size_t alignment, std::size_t size) {
  void* block = size > kMaxRequestBytes ? nullptr : process_heap.aligned_allocate(alignment, size);
  return CARREL_LIKELY(block != nullptr) ? block : out_of_memory();
}

}  // namespace carrel::core
