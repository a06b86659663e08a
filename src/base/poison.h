// Free blocks, told to AddressSanitizer: in the default configuration's sanitizer build a block
// that was freed cannot be touched, by a test or by the allocator itself, until it is handed out
// again. Everywhere else nothing of this is compiled. Hardened builds look into freed blocks by
// design.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define CARREL_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CARREL_POISONS 1
#endif
#endif

#ifdef CARREL_POISONS
extern "C" {
void __asan_poison_memory_region(const volatile void* start, std::size_t bytes);
void __asan_unpoison_memory_region(const volatile void* start, std::size_t bytes);
int __asan_address_is_poisoned(const volatile void* address);
}
#endif

namespace carrel::core {

#ifdef CARREL_POISONS
inline constexpr bool kPoisons = true;
inline void poison(const void* start, std::size_t bytes) {
  __asan_poison_memory_region(start, bytes);
}
inline void unpoison(const void* start, std::size_t bytes) {
  __asan_unpoison_memory_region(start, bytes);
}
inline bool is_poisoned(const void* address) { return __asan_address_is_poisoned(address) != 0; }
#else
inline constexpr bool kPoisons = false;
inline void poison(const void*, std::size_t) {}
inline void unpoison(const void*, std::size_t) {}
inline bool is_poisoned(const void*) { return false; }
#endif

}  // namespace carrel::core
