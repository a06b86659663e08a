// Fuzzing of what users type: option strings, and names and values of controls. Looked for are
// reads and writes out of bounds, endless loops, and answers that contradict each other.
#include <carrel/carrel.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "heap/options.h"

namespace {

using namespace carrel::core;

int complaints;

void complain(TextView key, TextView value, OptionError error) {
  ++complaints;
  if (error == OptionError::kUnknownKey) {
    if (find_option(key) != nullptr) std::abort();
    static_cast<void>(nearest_option(key));
  } else {
    const OptionSpec* spec = find_option(key);
    if (spec == nullptr) std::abort();
    const std::uint32_t nearest = nearest_value(*spec, value);
    if (nearest < spec->minimum || nearest > spec->maximum) std::abort();
  }
}

void parse(const std::string& text) {
  Options options;
  complaints = 0;
  parse_options(options, TextView(text.data(), text.size()), complain);
  for (const OptionSpec& spec : kOptionTable) {
    const std::uint32_t value = options.*(spec.field);
    // What was not set is as it was; what was set is in its range.
    if (value != Options{}.*(spec.field) && (value < spec.minimum || value > spec.maximum)) {
      std::abort();
    }
  }
}

void control(const std::string& name, const std::string& value) {
  char buffer[64];
  std::uint64_t number = 0;
  const carrel_result as_number = carrel_ctl_read_u64(name.c_str(), &number);
  const carrel_result as_text = carrel_ctl_read_text(name.c_str(), buffer, sizeof buffer);
  if ((as_number == CARREL_UNKNOWN_NAME) != (as_text == CARREL_UNKNOWN_NAME)) std::abort();
  if (as_text == CARREL_OK && std::memchr(buffer, 0, sizeof buffer) == nullptr) std::abort();
  // Not what would leave this process without memory or without end.
  const bool harmless = name.find("limit") == std::string::npos;
  if (harmless) static_cast<void>(carrel_ctl_write_text(name.c_str(), value.c_str()));
  if (harmless) static_cast<void>(carrel_ctl_write_u64(name.c_str(), value.size()));
  char line[160];
  static_cast<void>(carrel_ctl_explain(name.c_str(), as_number, line, sizeof line));
  static_cast<void>(carrel_ctl_explain(name.c_str(), as_text, line, value.size() % sizeof line));
  static_cast<void>(carrel_set_option(harmless ? name.c_str() : "verbose", value.c_str()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > 4096) return 0;
  const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
  if (data[0] % 2 == 0) {
    parse(text);
  } else {
    const std::size_t cut = text.find('\n');
    control(text.substr(0, cut), cut == std::string::npos ? "" : text.substr(cut + 1));
  }
  return 0;
}
