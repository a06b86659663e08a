// Zeroing slots, and looking whether they are still zero, fast for short ones.
//
// Short lengths are done without a branch, always in eight steps that overlap: a branch or a loop
// that goes another way from call to call is mispredicted, and that costs more than the work.
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

/// Up to here slots are short: cleared, and looked at, in line.
inline constexpr std::size_t kShortBytes = 128;

/// Where four steps lie that cover a slot of 16 to 64 bytes: at its start, these, and its end.
struct SmallSteps {
  std::size_t second, third, last;

  CARREL_INLINE explicit SmallSteps(std::size_t slot_bytes)
      : second(slot_bytes < 32 ? 0 : 16), third(slot_bytes - 16 - second), last(slot_bytes - 16) {}
};

CARREL_INLINE void clear_line(char* block) {
  constexpr WordPair kZero = {};
  words_at(block, 0) = kZero;
  words_at(block, 16) = kZero;
  words_at(block, 32) = kZero;
  words_at(block, 48) = kZero;
}

/// Sets a slot of 16 to kShortBytes bytes to zero.
CARREL_INLINE void clear_short_slot(char* block, std::size_t slot_bytes) {
  constexpr WordPair kZero = {};
  if (CARREL_LIKELY(slot_bytes <= 64)) {
    const SmallSteps step(slot_bytes);
    words_at(block, 0) = kZero;
    words_at(block, step.second) = kZero;
    words_at(block, step.third) = kZero;
    words_at(block, step.last) = kZero;
  } else {
    clear_line(block);
    clear_line(block + slot_bytes - 64);
  }
}

/// The bits that are set in 64 bytes.
CARREL_INLINE WordPair bits_of_line(const char* block) {
  return (words_at(block, 0) | words_at(block, 16)) | (words_at(block, 32) | words_at(block, 48));
}

CARREL_INLINE bool short_slot_is_zero(const char* block, std::size_t slot_bytes) {
  WordPair bits;
  if (CARREL_LIKELY(slot_bytes <= 64)) {
    const SmallSteps step(slot_bytes);
    bits = (words_at(block, 0) | words_at(block, step.second)) |
           (words_at(block, step.third) | words_at(block, step.last));
  } else {
    bits = bits_of_line(block) | bits_of_line(block + slot_bytes - 64);
  }
  return (bits[0] | bits[1]) == 0;
}

/// Whether `bytes` bytes, at least 16, are zero; of more than `kMost`, a multiple of 128, only the
/// first and the last half of that many are looked at.
template <std::size_t kMost>
CARREL_INLINE bool words_are_zero(const char* block, std::size_t bytes) {
  static_assert(kMost == kShortBytes, "a tier for each 128 bytes");
  if (bytes <= kShortBytes) return short_slot_is_zero(block, bytes);
  const WordPair bits = bits_of_line(block) | bits_of_line(block + bytes - 64);
  return (bits[0] | bits[1]) == 0;
}

}  // namespace carrel::core
