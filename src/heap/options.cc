// Parsing of options; see options.h. Needs no memory and no locale.
#include "heap/options.h"

namespace carrel::core {
namespace {

bool parse_number(TextView text, std::uint64_t& number) {
  if (text.size == 0 || text.size > 9) return false;
  number = 0;
  for (std::size_t i = 0; i < text.size; ++i) {
    if (text.data[i] < '0' || text.data[i] > '9') return false;
    number = number * 10 + static_cast<std::uint64_t>(text.data[i] - '0');
  }
  return true;
}

TextView trimmed(TextView text) {
  while (text.size > 0 && text.data[0] == ' ') text = {text.data + 1, text.size - 1};
  while (text.size > 0 && text.data[text.size - 1] == ' ') --text.size;
  return text;
}

/// The part before `separator`; `rest` is what follows it.
TextView split(TextView text, char separator, TextView& rest) {
  for (std::size_t i = 0; i < text.size; ++i) {
    if (text.data[i] == separator) {
      rest = {text.data + i + 1, text.size - i - 1};
      return {text.data, i};
    }
  }
  rest = {};
  return text;
}

}  // namespace

std::size_t edit_distance(TextView a, TextView b) {
  constexpr std::size_t kMaxKey = 48;
  if (a.size > kMaxKey) a.size = kMaxKey;
  std::size_t row[kMaxKey + 1];
  for (std::size_t i = 0; i <= a.size; ++i) row[i] = i;
  for (std::size_t j = 1; j <= b.size; ++j) {
    std::size_t diagonal = row[0];
    row[0] = j;
    for (std::size_t i = 1; i <= a.size; ++i) {
      const std::size_t substituted = diagonal + (a.data[i - 1] == b.data[j - 1] ? 0 : 1);
      diagonal = row[i];
      const std::size_t gap = (row[i] < row[i - 1] ? row[i] : row[i - 1]) + 1;
      row[i] = substituted < gap ? substituted : gap;
    }
  }
  return row[a.size];
}

OptionError set_option(Options& options, TextView key, TextView value, bool running) {
  const OptionSpec* spec = find_option(key);
  if (spec == nullptr) return OptionError::kUnknownKey;
  std::uint32_t parsed = 0;
  if (!parse_value(*spec, value, parsed)) return OptionError::kBadValue;
  if (running && !spec->changeable) return OptionError::kFixed;
  options.*(spec->field) = parsed;
  return OptionError::kNone;
}

void parse_options(Options& options, TextView text,
                   void (*complain)(TextView key, TextView value, OptionError error)) {
  while (text.size > 0) {
    TextView rest;
    const TextView entry = trimmed(split(text, ',', rest));
    text = rest;
    if (entry.size == 0) continue;
    TextView value;
    const TextView key = trimmed(split(entry, '=', value));
    value = trimmed(value);
    const OptionError error = set_option(options, key, value, false);
    if (error != OptionError::kNone) complain(key, value, error);
  }
}

bool parse_value(const OptionSpec& spec, TextView text, std::uint32_t& value) {
  if (spec.words != nullptr) {
    for (value = spec.minimum; value <= spec.maximum; ++value) {
      if (text == TextView(spec.words[value])) return true;
    }
    return false;
  }
  std::uint64_t number = 0;
  if (!parse_number(text, number) || number < spec.minimum || number > spec.maximum) return false;
  value = static_cast<std::uint32_t>(number);
  return true;
}

std::uint32_t nearest_value(const OptionSpec& spec, TextView value) {
  if (spec.words != nullptr) {
    std::uint32_t best = spec.minimum;
    for (std::uint32_t word = spec.minimum; word <= spec.maximum; ++word) {
      if (edit_distance(value, spec.words[word]) < edit_distance(value, spec.words[best])) {
        best = word;
      }
    }
    return best;
  }
  std::uint64_t number = 0;
  const bool negative = value.size > 0 && value.data[0] == '-';
  for (std::size_t i = 0; i < value.size && !negative; ++i) {
    if (value.data[i] < '0' || value.data[i] > '9') break;
    number = number * 10 + static_cast<std::uint64_t>(value.data[i] - '0');
    if (number > spec.maximum) return spec.maximum;
  }
  return number < spec.minimum ? spec.minimum : static_cast<std::uint32_t>(number);
}

const OptionSpec& nearest_option(TextView key) {
  const OptionSpec* best = &kOptionTable[0];
  std::size_t best_distance = SIZE_MAX;
  for (const OptionSpec& spec : kOptionTable) {
    const std::size_t distance = edit_distance(key, TextView(spec.key));
    if (distance < best_distance) {
      best_distance = distance;
      best = &spec;
    }
  }
  return *best;
}

}  // namespace carrel::core
