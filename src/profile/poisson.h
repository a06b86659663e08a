// The arithmetic of sampling: how far it is to the next sample, and what a sample stands for.
//
// Every byte that is allocated is an event with the same small probability, independent of all
// others; an allocation is sampled when one of its bytes is. So one of `size` bytes is sampled with
// the probability 1 - exp(-size / mean), and stands for the inverse of that many. No function of
// libm is used: the core takes nothing from it.
#pragma once

#include <bit>
#include <cstdint>

namespace carrel::core {

/// The natural logarithm of a positive, normal number; the error is below 1e-14 times the result,
/// or 1e-16.
constexpr double natural_log(double x) {
  const auto bits = std::bit_cast<std::uint64_t>(x);
  auto exponent = static_cast<int>(bits >> 52) - 1023;
  double mantissa = std::bit_cast<double>((bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000);
  if (mantissa > 1.4142135623730951) {
    mantissa /= 2;
    ++exponent;
  }
  // ln m = 2 artanh((m - 1) / (m + 1)), whose argument is at most 0.172.
  const double t = (mantissa - 1) / (mantissa + 1);
  double power = t;
  double sum = 0;
  for (int k = 1; k <= 19; k += 2) {
    sum += power / k;
    power *= t * t;
  }
  return 2 * sum + exponent * 0.69314718055994531;
}

/// 1 - exp(-x) for x >= 0, exact to some 1e-13 of the result also where that is tiny.
constexpr double one_minus_exp(double x) {
  if (x > 40) return 1;
  int halvings = 0;
  for (; x > 0.25; x /= 2) ++halvings;
  double term = x;
  double result = 0;
  for (int k = 2; k <= 14; ++k) {
    result += term;
    term *= -x / k;
  }
  // 1 - exp(-2x) = r (2 - r) for r = 1 - exp(-x).
  for (; halvings > 0; --halvings) result *= 2 - result;
  return result;
}

/// How probable it is that an allocation of `size` bytes is sampled.
constexpr double sample_chance(std::uint64_t size, std::uint64_t mean_bytes) {
  return one_minus_exp(static_cast<double>(size) / static_cast<double>(mean_bytes));
}

/// How many allocations of `size` bytes one that was sampled stands for.
constexpr double sample_weight(std::uint64_t size, std::uint64_t mean_bytes) {
  return 1 / sample_chance(size, mean_bytes);
}

/// A random number from 2^-53 to 1; `state` is the generator's and never 0.
constexpr double next_uniform(std::uint64_t& state) {
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  const std::uint64_t word = state * 0x2545F4914F6CDD1D;
  return (static_cast<double>(word >> 11) + 1) * 0x1p-53;
}

/// Bytes that pass before the next sampled one; `state` as above.
constexpr std::int64_t next_distance(std::uint64_t& state, std::uint64_t mean_bytes) {
  const double uniform = next_uniform(state);
  // Rounded down, the exponential distribution becomes the geometric one: the next byte is
  // sampled with a probability that depends on nothing before.
  return static_cast<std::int64_t>(-natural_log(uniform) * static_cast<double>(mean_bytes));
}

}  // namespace carrel::core
