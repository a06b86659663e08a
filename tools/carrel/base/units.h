// Numbers for people: bytes and counts in a unit that leaves up to four digits.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>

namespace carrel::tools {

// "512 B", "1.5 KiB", "23.4 MiB", "1.20 GiB".
inline std::string human_bytes(double bytes) {
  if (bytes < 1024) return fmt::format("{:.0f} B", bytes);
  const char* const units[] = {"KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  double value = bytes / 1024;
  for (; value >= 1024 && unit < 3; ++unit) value /= 1024;
  return fmt::format("{:.{}f} {}", value, unit == 2 && value < 10 ? 2 : 1, units[unit]);
}
inline std::string human_bytes(std::uint64_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

// "1,234,567".
inline std::string human_count(std::uint64_t count) {
  const std::string digits = std::to_string(count);
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i != 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

}  // namespace carrel::tools
