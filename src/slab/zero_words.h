// Zeroing slots, and looking whether they are still zero, fast for short ones.
//
// Short lengths are done without a loop, in a few overlapping steps per tier of sizes: a loop whose
// length changes from call to call costs a mispredicted branch, which is more than the work.
// Lengths and addresses are multiples of 16.
#pragma once

#include <cstddef>

#include "base/compiler.h"

namespace carrel::core {

using WordPair = unsigned long long __attribute__((vector_size(16), may_alias));

CARREL_INLINE WordPair& words_at(char* block, std::size_t offset) {
  return *reinterpret_cast<WordPair*>(block + offset);
}
CARREL_INLINE WordPair words_at(const char* block, std::size_t offset) {
  return *reinterpret_cast<const WordPair*>(block + offset);
}

/// Up to here slots are short: cleared in line.
inline constexpr std::size_t kShortBytes = 128;

CARREL_INLINE void clear_line(char* block) {
  constexpr WordPair kZero = {};
  words_at(block, 0) = kZero;
  words_at(block, 16) = kZero;
  words_at(block, 32) = kZero;
  words_at(block, 48) = kZero;
}

/// Sets `bytes` bytes, from 16 to kShortBytes, to zero.
CARREL_INLINE void clear_words(char* block, std::size_t bytes) {
  constexpr WordPair kZero = {};
  const std::size_t last = bytes - 16;
  if (bytes <= 64) {
    words_at(block, 0) = kZero;
    words_at(block, last < 16 ? last : 16) = kZero;
    words_at(block, last < 32 ? last : 32) = kZero;
    words_at(block, last) = kZero;
  } else {
    clear_line(block);
    clear_line(block + bytes - 64);
  }
}

/// The bits that are set in 64 bytes.
CARREL_INLINE WordPair bits_of_line(const char* block) {
  return (words_at(block, 0) | words_at(block, 16)) | (words_at(block, 32) | words_at(block, 48));
}

/// Whether `bytes` bytes, at least 16, are zero; of more than `kMost`, a multiple of 128, only the
/// first and the last half of that many are looked at.
template <std::size_t kMost>
CARREL_INLINE bool words_are_zero(const char* block, std::size_t bytes) {
  static_assert(kMost == 128, "a tier for each 128 bytes");
  WordPair bits;
  if (bytes <= 64) {
    const std::size_t last = bytes - 16;
    bits = (words_at(block, 0) | words_at(block, last < 16 ? last : 16)) |
           (words_at(block, last < 32 ? last : 32) | words_at(block, last));
  } else {
    bits = bits_of_line(block) | bits_of_line(block + bytes - 64);
  }
  return (bits[0] | bits[1]) == 0;
}

}  // namespace carrel::core
