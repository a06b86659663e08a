// The allocation functions that the stress test exercises, as one set of static functions:
// the C library's and C++'s names where carrel replaces malloc, or the carrel_ names alone
// (CARREL_STRESS_PREFIXED), which sanitizer builds can use too.
#pragma once

#include <carrel/carrel.h>
#include <malloc.h>

#include <cstddef>
#include <cstdlib>
#include <new>

extern "C" {
void free_sized(void* block, std::size_t size);
void free_aligned_sized(void* block, std::size_t alignment, std::size_t size);
}

namespace stress {

/// How a block may be given back, which depends on how it was made.
enum class Kind { kPlain, kAligned, kNew, kAlignedNew };

#ifdef CARREL_STRESS_PREFIXED

struct Operations {
  static void* allocate(std::size_t size, unsigned) { return carrel_malloc(size); }
  static void* allocate_zeroed(std::size_t size) { return carrel_calloc(1, size); }
  static void* allocate_aligned(std::size_t alignment, std::size_t size, unsigned) {
    return carrel_aligned_alloc(alignment, size);
  }
  static void* create(std::size_t size) { return carrel_malloc(size); }
  static void* create_aligned(std::size_t alignment, std::size_t size) {
    return carrel_aligned_alloc(alignment, size);
  }
  static void* resize(void* block, std::size_t size, unsigned) {
    return carrel_realloc(block, size);
  }
  static void release(void* block, Kind kind, std::size_t size, std::size_t alignment,
                      unsigned how) {
    if (how % 3 != 0) return carrel_free(block);
    if (kind == Kind::kAligned || kind == Kind::kAlignedNew) {
      return carrel_free_sized_aligned(block, size, alignment);
    }
    carrel_free_sized(block, size);
  }
};

#else

struct Operations {
  static void* allocate(std::size_t size, unsigned how) {
    switch (how % 4) {
      case 0:
        return carrel_malloc(size);
      case 1:
        return realloc(nullptr, size);
      case 2:
        return reallocarray(nullptr, size, 1);
      default:
        return malloc(size);
    }
  }
  static void* allocate_zeroed(std::size_t size) { return calloc(size, 1); }
  static void* allocate_aligned(std::size_t alignment, std::size_t size, unsigned how) {
    void* block = nullptr;
    switch (how % 3) {
      case 0:
        return memalign(alignment, size);
      case 1:
        return aligned_alloc(alignment, size);
      default:
        if (alignment < sizeof(void*)) return memalign(alignment, size);
        return posix_memalign(&block, alignment, size) == 0 ? block : nullptr;
    }
  }
  static void* create(std::size_t size) { return ::operator new(size); }
  static void* create_aligned(std::size_t alignment, std::size_t size) {
    return ::operator new (size, std::align_val_t{alignment});
  }
  static void* resize(void* block, std::size_t size, unsigned how) {
    return how % 2 == 0 ? realloc(block, size) : reallocarray(block, 1, size);
  }
  static void release(void* block, Kind kind, std::size_t size, std::size_t alignment,
                      unsigned how) {
    switch (kind) {
      case Kind::kPlain:
        return how % 3 == 0 ? free_sized(block, size) : free(block);
      case Kind::kAligned:
        return how % 3 == 0 ? free_aligned_sized(block, alignment, size) : free(block);
      case Kind::kNew:
        return how % 3 == 0 ? ::operator delete(block) : ::operator delete(block, size);
      case Kind::kAlignedNew:
        return how % 3 == 0 ? ::operator delete (block, std::align_val_t{alignment})
                            : ::operator delete (block, size, std::align_val_t{alignment});
    }
  }
};

#endif

}  // namespace stress
