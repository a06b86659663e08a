// Statistics and controls for C++20: the C API's functions with exceptions and strings.
//
// Everything may be called from any thread. What fails throws ControlError, whose text says
// what was expected; nothing has been changed then. Units and names: carrel.h, docs/TUNING.md.
#pragma once

#include <carrel/carrel.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace carrel {

/// A name that does not exist, a value out of range, a control of another type.
class ControlError : public std::runtime_error {
 public:
  ControlError(const char* name, carrel_result result)
      : std::runtime_error(explain(name, result)), result_(result) {}
  /// The C API's code.
  [[nodiscard]] carrel_result result() const noexcept { return result_; }

 private:
  static std::string explain(const char* name, carrel_result result) {
    char line[320];
    return carrel_ctl_explain(name, result, line, sizeof line);
  }
  carrel_result result_;
};

namespace detail {
inline void require_ok(const char* name, carrel_result result) {
  if (result != CARREL_OK) throw ControlError(name, result);
}
}  // namespace detail

/// The process in numbers; bytes and counts.
[[nodiscard]] inline carrel_stats statistics() {
  carrel_stats stats;
  detail::require_ok("stats", carrel_stats_read(&stats, sizeof stats));
  return stats;
}

/// All statistics as text, JSON or Prometheus' format.
[[nodiscard]] inline std::string statistics_text(carrel_format format = CARREL_TEXT) {
  std::string text;
  const auto append = [](void* context, const char* piece, std::size_t size) {
    static_cast<std::string*>(context)->append(piece, size);
  };
  detail::require_ok("format", carrel_stats_print(format, append, &text));
  return text;
}

/// A control's number, for example `carrel::control("stats.resident_bytes")`.
[[nodiscard]] inline std::uint64_t control(const char* name) {
  std::uint64_t value = 0;
  detail::require_ok(name, carrel_ctl_read_u64(name, &value));
  return value;
}

/// A control's value as text.
[[nodiscard]] inline std::string control_text(const char* name) {
  char text[1024];  // the longest is the name of a file
  detail::require_ok(name, carrel_ctl_read_text(name, text, sizeof text));
  return text;
}

/// Sets a control to a number.
inline void set_control(const char* name, std::uint64_t value) {
  detail::require_ok(name, carrel_ctl_write_u64(name, value));
}

/// Sets a control to a word, or to a number in decimal.
inline void set_control(const char* name, const char* value) {
  detail::require_ok(name, carrel_ctl_write_text(name, value));
}

/// Does what an action's name says, for example `carrel::run_control("heap.purge")`.
inline void run_control(const char* name) { detail::require_ok(name, carrel_ctl_run(name)); }

/// All controls, in the order of the documentation.
[[nodiscard]] inline std::vector<carrel_ctl_info> controls() {
  std::vector<carrel_ctl_info> all;
  carrel_ctl_info info;
  while (carrel_ctl_list(all.size(), &info) == CARREL_OK) all.push_back(info);
  return all;
}

}  // namespace carrel
