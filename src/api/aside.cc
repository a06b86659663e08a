// Under Valgrind's memcheck, and in programs built with AddressSanitizer, carrel steps aside. Both
// replace malloc, free and operator new by their own, carrel's included, but they do not know
// carrel's own functions: blocks of carrel_malloc would be invisible to them, and one handed to
// free() an error. So carrel_malloc and its like then call malloc and its like. The heap does so on
// its slow paths (AsideHooks in heap/heap.h); no fast path knows of it, because no thread gets a
// cache.
//
// Not for arenas, whose blocks lie where carrel puts them, and not in a hardened build.
#include <string.h>

#include "api/instance.h"

namespace carrel::core {
namespace {

// Weak: a program that takes nothing but carrel's own functions gets no malloc for it.
void* libc_malloc(std::size_t size) __attribute__((weakref("malloc")));
void* libc_calloc(std::size_t count, std::size_t size) __attribute__((weakref("calloc")));
void libc_free(void* block) __attribute__((weakref("free")));
std::size_t libc_usable_size(void* block) __attribute__((weakref("malloc_usable_size")));
int libc_memalign(void** result, std::size_t alignment, std::size_t size)
    __attribute__((weakref("posix_memalign")));

// There is one exactly if AddressSanitizer is in the program.
int asan_marker(void* begin, std::size_t size)
    __attribute__((weakref("__asan_region_is_poisoned")));

// Where carrel itself is built with it, carrel is what is to be checked.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kChecked = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool kChecked = true;
#else
constexpr bool kChecked = false;
#endif
#else
constexpr bool kChecked = false;
#endif

void* allocate(std::size_t size, std::size_t alignment, bool zero) {
  if (alignment <= kSlotAlignment) return zero ? libc_calloc(1, size) : libc_malloc(size);
  void* block = nullptr;
  if (libc_memalign(&block, alignment, size) != 0) return nullptr;
  if (zero) memset(block, 0, size);
  return block;
}

std::size_t usable_size(const void* block) { return libc_usable_size(const_cast<void*>(block)); }

/// The compiler takes weak functions that it sees declared for functions that exist.
template <class Function>
bool is_there(Function* function) {
  CARREL_OPAQUE(function);
  return function != nullptr;
}

constexpr AsideHooks kAside = {allocate, libc_free, usable_size};

}  // namespace

void step_aside_if_checked() {
  if (kChecked || !(ProcessOs::under_memcheck() || is_there(&asan_marker))) return;
  if (!is_there(&libc_malloc) || !is_there(&libc_memalign) || !is_there(&libc_usable_size)) return;
  // Where malloc is carrel's own, and not replaced, as in a wholly static program, there is nobody
  // to make room for.
  void* block = libc_malloc(1);
  const bool ours = process_heap.map().class_of(block) != kNotOurs;
  libc_free(block);
  if (!ours) process_heap.step_aside(kAside);
}

}  // namespace carrel::core
