// What the malloc family and the carrel_ functions share: requests that set errno.
#pragma once

#include <cstddef>

#include "base/compiler.h"

namespace carrel::core {

/// Sets errno to ENOMEM and returns null.
CARREL_COLD void* out_of_memory();

/// malloc, for a block that the thread has not cached.
CARREL_NOINLINE void* allocated_or_errno(std::size_t size);

/// calloc.
void* zeroed_or_errno(std::size_t count, std::size_t size);

/// realloc as glibc has it: size 0 frees and returns null; null allocates.
void* resized_or_errno(void* block, std::size_t size);

/// `alignment` is a power of two.
void* aligned_or_errno(std::size_t alignment, std::size_t size);

}  // namespace carrel::core
