// C++'s operator new and delete on carrel's heap.
//
// As the standard says, the array, nothrow and sized forms call the basic ones, so that a
// program which replaces those alone replaces all. The C++ runtime is referred to weakly:
// a C program that preloads carrel has none, and never comes here; a C++ program brings
// its own, whichever it is.
#include <errno.h>
#include <stdlib.h>

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
__attribute__((noreturn)) void __throw_bad_alloc();  // NOLINT: the runtime's own name
}

namespace {

/// A static program that takes operator new from the library must take malloc from there
/// too, though it may call it only from the C library.
[[gnu::used]] void* (*const take_malloc_too)(std::size_t) = &malloc;

/// When memory is exhausted: asks the new-handler to free some and tries again, until that
/// helps, or there is no handler, or the handler throws.
template <class Allocate>
void* allocate_or_throw(Allocate allocate) {
  for (;;) {
    void* block = allocate();
    if (CARREL_LIKELY(block != nullptr)) return block;
    const std::new_handler handler = std::get_new_handler();
    if (handler == nullptr) std::__throw_bad_alloc();
    handler();
  }
}

CARREL_NOINLINE void* new_slow(std::size_t size) {
  return allocate_or_throw([size] { return process_heap.allocate_slow(size); });
}

void* aligned_block(std::size_t size, std::size_t alignment) {
  return size > core::kMaxRequestBytes ? nullptr : process_heap.aligned_allocate(alignment, size);
}

/// The nothrow forms: null, and errno as malloc sets it, where the others throw.
template <class Allocate>
void* null_for_exception(Allocate allocate) noexcept {
  try {
    return allocate();
  } catch (...) {
    errno = ENOMEM;
    return nullptr;
  }
}

/// Whether this library's operator new is the one in force. A program that has its own may have
/// asked for another size than it was asked for.
bool new_is_ours();

/// Before a sized delete goes on to the plain one.
void check_sized_delete(const void* block, std::size_t size) {
  if constexpr (core::ProcessHeap::kHard.check_sizes) {
    if (new_is_ours()) process_heap.check_size(block, size);
  }
}

}  // namespace

// Weak: a program that is linked with the static library may replace some of them itself.
#define CARREL_EXPORT __attribute__((visibility("default"), weak))

CARREL_EXPORT void* operator new(std::size_t size) { return process_heap.malloc<new_slow>(size); }
CARREL_EXPORT void* operator new[](std::size_t size) { return operator new(size); }
CARREL_EXPORT void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return null_for_exception([size] { return operator new(size); });
}
CARREL_EXPORT void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return null_for_exception([size] { return operator new[](size); });
}

CARREL_EXPORT void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(
      [=] { return aligned_block(size, static_cast<std::size_t>(alignment)); });
}
CARREL_EXPORT void* operator new[](std::size_t size, std::align_val_t alignment) {
  return operator new(size, alignment);
}
CARREL_EXPORT void* operator new(std::size_t size, std::align_val_t alignment,
                                 const std::nothrow_t&) noexcept {
  return null_for_exception([=] { return operator new(size, alignment); });
}
CARREL_EXPORT void* operator new[](std::size_t size, std::align_val_t alignment,
                                   const std::nothrow_t&) noexcept {
  return null_for_exception([=] { return operator new[](size, alignment); });
}

CARREL_EXPORT void operator delete(void* block) noexcept { process_heap.free(block); }
CARREL_EXPORT void operator delete[](void* block) noexcept { operator delete(block); }
CARREL_EXPORT void operator delete(void* block, const std::nothrow_t&) noexcept {
  operator delete(block);
}
CARREL_EXPORT void operator delete[](void* block, const std::nothrow_t&) noexcept {
  operator delete[](block);
}
CARREL_EXPORT void operator delete(void* block, std::size_t size) noexcept {
  check_sized_delete(block, size);
  operator delete(block);
}
CARREL_EXPORT void operator delete[](void* block, std::size_t size) noexcept {
  check_sized_delete(block, size);
  operator delete[](block);
}

CARREL_EXPORT void operator delete(void* block, std::align_val_t alignment) noexcept {
  process_heap.check_alignment(block, static_cast<std::size_t>(alignment));
  process_heap.free(block);
}
CARREL_EXPORT void operator delete[](void* block, std::align_val_t alignment) noexcept {
  operator delete(block, alignment);
}
CARREL_EXPORT void operator delete(void* block, std::size_t size,
                                   std::align_val_t alignment) noexcept {
  check_sized_delete(block, size);
  operator delete(block, alignment);
}
CARREL_EXPORT void operator delete[](void* block, std::size_t size,
                                     std::align_val_t alignment) noexcept {
  check_sized_delete(block, size);
  operator delete[](block, alignment);
}
CARREL_EXPORT void operator delete(void* block, std::align_val_t alignment,
                                   const std::nothrow_t&) noexcept {
  operator delete(block, alignment);
}
CARREL_EXPORT void operator delete[](void* block, std::align_val_t alignment,
                                     const std::nothrow_t&) noexcept {
  operator delete[](block, alignment);
}

namespace {

// The same code as the exported functions under names that no program can replace.
[[gnu::alias("_Znwm"), gnu::malloc, gnu::alloc_size(1)]] void* own_new(std::size_t);
[[gnu::alias("_Znam"), gnu::malloc, gnu::alloc_size(1)]] void* own_new_array(std::size_t);

bool new_is_ours() {
  void* (*const in_force)(std::size_t) = &::operator new;
  void* (*const array_in_force)(std::size_t) = &::operator new[];
  return in_force == &own_new && array_in_force == &own_new_array;
}

}  // namespace
