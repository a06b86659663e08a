// Results in words, for programs and for people: apart from what gives them, so that a program
// that uses neither links neither.
#include <string.h>

#include "api/statistics.h"
#include "heap/options.h"

namespace carrel::core {
namespace {

/// A name as the list has it: "class.7.slabs" becomes "class.<i>.slabs".
void generalize(TextView name, TextBuffer<96>& general) {
  for (std::size_t i = 0; i < name.size;) {
    const bool starts =
        i > 0 && name.data[i - 1] == '.' && name.data[i] >= '0' && name.data[i] <= '9';
    if (!starts) {
      general << TextView(name.data + i++, 1);
      continue;
    }
    while (i < name.size && name.data[i] >= '0' && name.data[i] <= '9') ++i;
    general << "<i>";
  }
}

/// The control that is spelled most like this name; true if exactly so.
bool find_nearest(TextView name, carrel_ctl_info& nearest) {
  TextBuffer<96> general;
  generalize(name, general);
  const TextView wanted(general.data(), general.size());
  std::size_t best = SIZE_MAX;
  carrel_ctl_info info;
  for (std::size_t i = 0; carrel_ctl_list(i, &info) == CARREL_OK; ++i) {
    const std::size_t distance = edit_distance(wanted, TextView(info.name));
    if (distance >= best) continue;
    best = distance;
    nearest = info;
    if (wanted == TextView(info.name)) return true;
  }
  return false;
}

void write_expected(TextBuffer<320>& line, const carrel_ctl_info& info) {
  line << ": expected ";
  if (info.words == nullptr) {
    line << "a whole number from " << info.minimum << " to " << info.maximum;
    return;
  }
  for (std::uint64_t word = info.minimum; word <= info.maximum; ++word) {
    line << (word == info.minimum ? "" : " or ") << info.words[word];
  }
}

}  // namespace
}  // namespace carrel::core

namespace core = carrel::core;

extern "C" {

const char* carrel_result_text(carrel_result result) {
  switch (result) {
    case CARREL_OK:
      return "done";
    case CARREL_BAD_ARGUMENT:
      return "a null pointer or another argument that cannot be";
    case CARREL_UNKNOWN_NAME:
      return "there is nothing of this name";
    case CARREL_WRONG_TYPE:
      return "it is of another type: number, word, text or action";
    case CARREL_OUT_OF_RANGE:
      return "the value is out of range";
    case CARREL_READ_ONLY:
      return "it cannot be written, or only before the heap is set up";
    case CARREL_TOO_SMALL:
      return "the buffer is too small";
    case CARREL_NO_MEMORY:
      return "memory is exhausted";
    case CARREL_UNAVAILABLE:
      return "this build of the library, or this system, cannot do that";
    case CARREL_IO_ERROR:
      return "a file could not be written";
    case CARREL_TOO_MANY:
      return "there are as many of these as there can be";
  }
  return "no result of carrel's";
}

const char* carrel_ctl_explain(const char* name, carrel_result result, char* buffer,
                               size_t capacity) {
  if (buffer == nullptr || capacity == 0) return "";
  constexpr size_t kShown = 80;  // of what may be any text
  core::TextView shown(name == nullptr ? "" : name);
  if (shown.size > kShown) shown.size = kShown;
  core::TextBuffer<320> line;
  line << "'" << shown << "': ";
  carrel_ctl_info info = {};
  const bool exact = core::find_nearest(shown, info);
  if (result == CARREL_UNKNOWN_NAME && exact) {
    line << "there is no such number";
  } else if (result == CARREL_UNKNOWN_NAME) {
    line << "no such control; nearest: '" << static_cast<const char*>(info.name) << "'";
  } else {
    line << carrel_result_text(result);
    if (result == CARREL_OUT_OF_RANGE && exact && info.maximum != 0) {
      core::write_expected(line, info);
    }
  }
  const size_t size = line.size() < capacity ? line.size() : capacity - 1;
  memcpy(buffer, line.data(), size);
  buffer[size] = '\0';
  return buffer;
}

}  // extern "C"
