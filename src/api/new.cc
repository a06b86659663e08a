// C++'s operator new and delete on carrel's heap.
//
// The C++ runtime is referred to weakly: a C program that preloads carrel has none, and
// never comes here. A C++ program brings its own, whichever it is.
#include <new>

#include "api/instance.h"

using carrel::core::process_heap;
namespace core = carrel::core;

// Weak references to what throwing and catching need; see above.
__asm__(
    ".weak _ZSt15get_new_handlerv\n.weak _ZSt17__throw_bad_allocv\n.weak __gxx_personality_v0\n"
    ".weak __cxa_begin_catch\n.weak __cxa_end_catch\n.weak __cxa_rethrow\n"
    ".weak _ZSt9terminatev\n.weak _Unwind_Resume\n");

namespace std {
[[noreturn]] void __throw_bad_alloc();  // NOLINT: the runtime's own name
}

namespace {

/// What operator new does when memory is exhausted: asks the new-handler to free some and
/// tries again, until it succeeds or there is no handler.
template <class Allocate>
CARREL_NOINLINE void* allocate_or_throw(Allocate allocate) {
  for (;;) {
    const std::new_handler handler = std::get_new_handler();
    if (handler == nullptr) std::__throw_bad_alloc();
    handler();
    void* block = allocate();
    if (block != nullptr) return block;
  }
}

template <class Allocate>
CARREL_NOINLINE void* allocate_or_null(Allocate allocate) noexcept {
  try {
    return allocate_or_throw(allocate);
  } catch (...) {
    return nullptr;
  }
}

CARREL_INLINE void* plain(std::size_t size) {
  void* block = process_heap.malloc(size);
  if (CARREL_LIKELY(block != nullptr)) return block;
  return allocate_or_throw([size] { return process_heap.malloc(size); });
}

CARREL_INLINE void* plain_nothrow(std::size_t size) noexcept {
  void* block = process_heap.malloc(size);
  if (CARREL_LIKELY(block != nullptr)) return block;
  return allocate_or_null([size] { return process_heap.malloc(size); });
}

void* aligned_block(std::size_t size, std::size_t alignment) {
  return size > core::kMaxRequestBytes ? nullptr : process_heap.aligned_allocate(alignment, size);
}

CARREL_INLINE void* aligned(std::size_t size, std::align_val_t alignment) {
  const auto align = static_cast<std::size_t>(alignment);
  void* block = aligned_block(size, align);
  if (CARREL_LIKELY(block != nullptr)) return block;
  return allocate_or_throw([size, align] { return aligned_block(size, align); });
}

CARREL_INLINE void* aligned_nothrow(std::size_t size, std::align_val_t alignment) noexcept {
  const auto align = static_cast<std::size_t>(alignment);
  void* block = aligned_block(size, align);
  if (CARREL_LIKELY(block != nullptr)) return block;
  return allocate_or_null([size, align] { return aligned_block(size, align); });
}

}  // namespace

// Weak: a program that is linked with the static library may replace some of them itself.
#define CARREL_EXPORT __attribute__((visibility("default"), weak))

CARREL_EXPORT void* operator new(std::size_t size) { return plain(size); }
CARREL_EXPORT void* operator new[](std::size_t size) { return plain(size); }
CARREL_EXPORT void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return plain_nothrow(size);
}
CARREL_EXPORT void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return plain_nothrow(size);
}
CARREL_EXPORT void* operator new(std::size_t size, std::align_val_t alignment) {
  return aligned(size, alignment);
}
CARREL_EXPORT void* operator new[](std::size_t size, std::align_val_t alignment) {
  return aligned(size, alignment);
}
CARREL_EXPORT void* operator new(std::size_t size, std::align_val_t alignment,
                                 const std::nothrow_t&) noexcept {
  return aligned_nothrow(size, alignment);
}
CARREL_EXPORT void* operator new[](std::size_t size, std::align_val_t alignment,
                                   const std::nothrow_t&) noexcept {
  return aligned_nothrow(size, alignment);
}

CARREL_EXPORT void operator delete(void* block) noexcept { process_heap.free(block); }
CARREL_EXPORT void operator delete[](void* block) noexcept { process_heap.free(block); }
CARREL_EXPORT void operator delete(void* block, const std::nothrow_t&) noexcept {
  process_heap.free(block);
}
CARREL_EXPORT void operator delete[](void* block, const std::nothrow_t&) noexcept {
  process_heap.free(block);
}
CARREL_EXPORT void operator delete(void* block, std::size_t) noexcept { process_heap.free(block); }
CARREL_EXPORT void operator delete[](void* block, std::size_t) noexcept {
  process_heap.free(block);
}
CARREL_EXPORT void operator delete(void* block, std::align_val_t) noexcept {
  process_heap.free(block);
}
CARREL_EXPORT void operator delete[](void* block, std::align_val_t) noexcept {
  process_heap.free(block);
}
CARREL_EXPORT void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
  process_heap.free(block);
}
CARREL_EXPORT void operator delete[](void* block, std::size_t, std::align_val_t) noexcept {
  process_heap.free(block);
}
CARREL_EXPORT void operator delete(void* block, std::align_val_t, const std::nothrow_t&) noexcept {
  process_heap.free(block);
}
CARREL_EXPORT void operator delete[](void* block, std::align_val_t,
                                     const std::nothrow_t&) noexcept {
  process_heap.free(block);
}
