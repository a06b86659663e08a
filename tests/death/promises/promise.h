// What every promise program shares: one misuse, judged by how the process ends.
//
// `promise CASE SIZE` commits one misuse with blocks of SIZE bytes. It ends with
//   0    nothing noticed it, and it did its harm
//   42   nothing noticed it, but it could do no harm (a request refused, old contents hidden)
//   4    the case does not apply to this library (a function that it lacks)
//   3    it never came to the misuse
// or by a signal, which counts as caught. promises.py runs it over libraries and sizes. Before the
// misuse it writes one byte to standard output; what else is printed is not looked at.
#pragma once

#include <unistd.h>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

enum Verdict : int { kHarmed = 0, kNotReached = 3, kNotApplicable = 4, kHarmless = 42 };

struct Case {
  const char* name;
  int (*run)(std::size_t size);
};

/// The tables of the families, each ended by a null name.
extern const Case kOverflowCases[];
extern const Case kFreeCases[];
extern const Case kAfterFreeCases[];
extern const Case kRequestCases[];

/// Says that the next step is the misuse.
inline void arm() {
  if (write(STDOUT_FILENO, "!", 1) != 1) _exit(kNotReached);
}

/// Hides where a value comes from, so that the compiler cannot reason about the misuse.
template <class T>
T hidden(T value) {
  __asm__ volatile("" : "+r"(value) : : "memory");
  return value;
}

/// A block, all of it written.
inline char* filled(std::size_t size, int value = 0x5A) {
  auto* block = static_cast<char*>(malloc(size));
  if (block == nullptr) _exit(kNotReached);
  memset(block, value, size);
  return hidden(block);
}

inline bool intact(const char* memory, std::size_t bytes, char value) {
  for (std::size_t i = 0; i < bytes; ++i) {
    if (hidden(memory)[i] != value) return false;
  }
  return true;
}

/// How many blocks of a size make neighbours likely without taking much memory.
inline constexpr int kNeighbours = 32;
