// Arithmetic on sizes and addresses that every layer needs. No state, no side effects.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace carrel::core {

inline constexpr std::size_t kKiB = 1024;
inline constexpr std::size_t kMiB = 1024 * kKiB;
inline constexpr std::size_t kGiB = 1024 * kMiB;

/// The largest request that may succeed: pointers within a block must be subtractable.
inline constexpr std::size_t kMaxRequestBytes = PTRDIFF_MAX;

/// Rounds up to a multiple of `unit`, a power of two; the caller rules out overflow.
constexpr std::size_t align_up(std::size_t value, std::size_t unit) {
  return (value + unit - 1) & ~(unit - 1);
}

constexpr std::size_t align_down(std::size_t value, std::size_t unit) {
  return value & ~(unit - 1);
}

/// Not by std::has_single_bit, which most processors' default instructions count bits for.
constexpr bool is_power_of_two(std::size_t value) {
  return value != 0 && (value & (value - 1)) == 0;
}

/// Position of the highest set bit; `value` must not be zero.
constexpr unsigned floor_log2(std::size_t value) {
  return static_cast<unsigned>(std::bit_width(value)) - 1;
}

inline std::uintptr_t address_of(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

template <class T>
T* at_address(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

}  // namespace carrel::core
