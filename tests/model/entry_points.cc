// The functions that a compiler inserts under -fsanitize=thread, leading to the checker instead of
// to ThreadSanitizer; and memory functions, whose accesses the compiler leaves to the library.
#include <cstring>

#include "runtime.h"

namespace {

inline std::uintptr_t number(const volatile void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

}  // namespace

#define PC reinterpret_cast<std::uintptr_t>(__builtin_return_address(0))

#define ACCESS(bytes)                                                                              \
  void __tsan_read##bytes(void* p) { model::plain_access(number(p), bytes, false, PC); }           \
  void __tsan_write##bytes(void* p) { model::plain_access(number(p), bytes, true, PC); }           \
  void __tsan_unaligned_read##bytes(void* p) { model::plain_access(number(p), bytes, false, PC); } \
  void __tsan_unaligned_write##bytes(void* p) { model::plain_access(number(p), bytes, true, PC); }

#define ATOMIC(bits, Word)                                                                         \
  Word __tsan_atomic##bits##_load(const volatile Word* p, int order) {                             \
    return static_cast<Word>(model::atomic_load(number(p), bits / 8, order, PC));                  \
  }                                                                                                \
  void __tsan_atomic##bits##_store(volatile Word* p, Word value, int order) {                      \
    model::atomic_store(number(p), bits / 8, static_cast<std::uint64_t>(value), order, PC);        \
  }                                                                                                \
  UPDATE(bits, Word, exchange, operand)                                                            \
  UPDATE(bits, Word, fetch_add, old_value + operand)                                               \
  UPDATE(bits, Word, fetch_sub, old_value - operand)                                               \
  UPDATE(bits, Word, fetch_and, old_value& operand)                                                \
  UPDATE(bits, Word, fetch_or, old_value | operand)                                                \
  UPDATE(bits, Word, fetch_xor, old_value ^ operand)                                               \
  bool __tsan_atomic##bits##_compare_exchange_strong(volatile Word* p, Word* expected,             \
                                                     Word desired, int order, int failure) {       \
    std::uint64_t value = static_cast<std::uint64_t>(*expected);                                   \
    const bool done = model::atomic_compare_exchange(                                              \
        number(p), bits / 8, value, static_cast<std::uint64_t>(desired), order, failure, PC);      \
    *expected = static_cast<Word>(value);                                                          \
    return done;                                                                                   \
  }                                                                                                \
  bool __tsan_atomic##bits##_compare_exchange_weak(volatile Word* p, Word* expected, Word desired, \
                                                   int order, int failure) {                       \
    std::uint64_t value = static_cast<std::uint64_t>(*expected);                                   \
    const bool done = model::atomic_compare_exchange(                                              \
        number(p), bits / 8, value, static_cast<std::uint64_t>(desired), order, failure, PC);      \
    *expected = static_cast<Word>(value);                                                          \
    return done;                                                                                   \
  }

#define UPDATE(bits, Word, name, result)                                                          \
  Word __tsan_atomic##bits##_##name(volatile Word* p, Word value, int order) {                    \
    const auto update = [](std::uint64_t old_value, std::uint64_t operand) -> std::uint64_t {     \
      static_cast<void>(old_value);                                                               \
      return result;                                                                              \
    };                                                                                            \
    return static_cast<Word>(model::atomic_update(number(p), bits / 8, update,                    \
                                                  static_cast<std::uint64_t>(value), order, PC)); \
  }

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_read_range(void* p, unsigned long n) { model::plain_access(number(p), n, false, PC); }
void __tsan_write_range(void* p, unsigned long n) { model::plain_access(number(p), n, true, PC); }

ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
ATOMIC(8, unsigned char)
ATOMIC(16, unsigned short)
ATOMIC(32, unsigned int)
ATOMIC(64, unsigned long)

void __tsan_atomic_thread_fence(int order) { model::atomic_fence(order, PC); }
void __tsan_atomic_signal_fence(int) {}

// The linker leads calls of memset and its like here (--wrap).
void* __real_memset(void* to, int value, std::size_t bytes);
void* __real_memcpy(void* to, const void* from, std::size_t bytes);
void* __real_memmove(void* to, const void* from, std::size_t bytes);

void* __wrap_memset(void* to, int value, std::size_t bytes) {
  model::plain_access(number(to), bytes, true, PC);
  return __real_memset(to, value, bytes);
}
void* __wrap_memcpy(void* to, const void* from, std::size_t bytes) {
  model::plain_access(number(from), bytes, false, PC);
  model::plain_access(number(to), bytes, true, PC);
  return __real_memcpy(to, from, bytes);
}
void* __wrap_memmove(void* to, const void* from, std::size_t bytes) {
  model::plain_access(number(from), bytes, false, PC);
  model::plain_access(number(to), bytes, true, PC);
  return __real_memmove(to, from, bytes);
}

}  // extern "C"
