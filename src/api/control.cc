// The controls: named values and actions. One table of groups makes the look-up, the listing and,
// through the listing, the documentation's table; the options and the fields of the statistics
// join it from their own tables.
//
// A name is "group.field" or "group.NUMBER.field". Every function first finds out whether what is
// asked can be done, and then does it: nothing is changed by half.
#include <string.h>

#include "api/instance.h"
#include "api/profile.h"
#include "api/statistics.h"

namespace carrel::core {
namespace {

/// One control as the table has it. Those without a `write` can only be read.
struct Control {
  const char* name;  // without the group
  const char* meaning;
  const char* unit;
  carrel_ctl_type type;
  carrel_result (*read)(std::uint64_t& value);
  carrel_result (*run)();
  carrel_result (*write)(std::uint64_t value) = nullptr;
  std::uint64_t minimum = 0;  // of what may be written
  std::uint64_t maximum = 0;
  carrel_result (*text)(char* buffer, std::size_t capacity) = nullptr;  // of a text alone
};

carrel_result copy_text(TextView text, char* buffer, std::size_t capacity) {
  if (text.size + 1 > capacity) {
    if (capacity != 0) buffer[0] = '\0';
    return CARREL_TOO_SMALL;
  }
  memcpy(buffer, text.data, text.size);
  buffer[text.size] = '\0';
  return CARREL_OK;
}

/// What a name leads to.
struct Found {
  const Control* control = nullptr;
  const OptionSpec* option = nullptr;
  const StatField<carrel_stats>* total = nullptr;
  const StatField<carrel_class_stats>* of_class = nullptr;
  const StatField<carrel_shard_stats>* of_shard = nullptr;
  const StatField<carrel_arena_stats>* of_arena = nullptr;
  bool arena_reset = false;
  std::size_t number = 0;
};

template <std::uint64_t ProfileNumbers::*kMember>
carrel_result read_of_profile(std::uint64_t& value) {
  ProfileNumbers numbers;
  read_profile(numbers);
  value = numbers.*kMember;
  return CARREL_OK;
}

constexpr Control kHeapControls[] = {
    {"version", "of the library that is running", "", CARREL_CTL_TEXT, nullptr, nullptr, nullptr, 0,
     0,
     [](char* buffer, std::size_t capacity) {
       return copy_text(carrel_version(), buffer, capacity);
     }},
    {"heap.page_bytes", "size of a page of the system", "bytes", CARREL_CTL_NUMBER,
     [](std::uint64_t& value) {
       value = ProcessOs::page_bytes();
       return CARREL_OK;
     },
     nullptr},
    {"heap.max_slot_bytes", "size of the largest blocks that lie in slabs", "bytes",
     CARREL_CTL_NUMBER,
     [](std::uint64_t& value) {
       value = kMaxSlotBytes;
       return CARREL_OK;
     },
     nullptr},
    {"heap.classes", "size classes, numbered from 1 on", "count", CARREL_CTL_NUMBER,
     [](std::uint64_t& value) {
       value = kClassCount;
       return CARREL_OK;
     },
     nullptr},
    {"heap.purge",
     "gives back what the calling thread caches and every page that holds no live block; of "
     "arenas, every slab",
     "", CARREL_CTL_ACTION, nullptr,
     [] {
       process_heap.purge();
       return CARREL_OK;
     }},
    {"thread.cached_bytes", "free blocks in the calling thread's cache", "bytes", CARREL_CTL_NUMBER,
     [](std::uint64_t& value) {
       value = cached_bytes(*process_heap.own_cache());
       return CARREL_OK;
     },
     nullptr},
    {"thread.shard", "the shard that the calling thread is dealt to", "count", CARREL_CTL_NUMBER,
     [](std::uint64_t& value) {
       value = process_heap.own_cache()->shard;
       return CARREL_OK;
     },
     nullptr},
    {"thread.flush", "gives back what the calling thread caches", "", CARREL_CTL_ACTION, nullptr,
     [] {
       process_heap.flush_thread();
       return CARREL_OK;
     }},
    {"thread.budget_room_bytes",
     "what the calling thread may still allocate in its budgets; the largest number: it has none",
     "bytes", CARREL_CTL_NUMBER,
     [](std::uint64_t& value) {
       const BudgetAccount* account = process_heap.budgets();
       value = account == nullptr ? UINT64_MAX : account->room();
       return CARREL_OK;
     },
     nullptr},
    {"profile.active", "1: allocations are sampled for a heap profile; write 1 to start, 0 to stop",
     "count", CARREL_CTL_NUMBER, read_of_profile<&ProfileNumbers::active>, nullptr,
     [](std::uint64_t value) {
       return value == 0 ? carrel_profile_stop() : carrel_profile_start(0);
     },
     0, 1},
    {"profile.interval_bytes", "allocated between two samples, on average", "bytes",
     CARREL_CTL_NUMBER, read_of_profile<&ProfileNumbers::interval_bytes>, nullptr},
    {"profile.samples", "sampled blocks that are live", "count", CARREL_CTL_NUMBER,
     read_of_profile<&ProfileNumbers::samples>, nullptr},
    {"profile.stacks", "distinct stacks that were sampled", "count", CARREL_CTL_NUMBER,
     read_of_profile<&ProfileNumbers::stacks>, nullptr},
    {"profile.live_bytes", "estimate of the bytes asked for in blocks that are live", "bytes",
     CARREL_CTL_NUMBER, read_of_profile<&ProfileNumbers::live_bytes>, nullptr},
    {"profile.peak_bytes", "the most that profile.live_bytes has been", "bytes", CARREL_CTL_NUMBER,
     read_of_profile<&ProfileNumbers::peak_bytes>, nullptr},
    {"profile.hooks", "functions of the program that hear of sampled blocks", "count",
     CARREL_CTL_NUMBER, read_of_profile<&ProfileNumbers::hooks>, nullptr},
    {"profile.reset", "forgets what was allocated so far, and the peak", "", CARREL_CTL_ACTION,
     nullptr, carrel_profile_reset},
    {"profile.dump", "writes the heap profile to a file PREFIX.PID.NUMBER.pb.gz", "",
     CARREL_CTL_ACTION, nullptr, [] { return carrel_profile_dump(nullptr); }},
    {"profile.last_file", "the file that profile.dump or profile_signal wrote last, if any", "",
     CARREL_CTL_TEXT, nullptr, nullptr, nullptr, 0, 0,
     [](char* buffer, std::size_t capacity) {
       return last_profile_file(buffer, capacity) ? CARREL_OK : CARREL_TOO_SMALL;
     }},
};

bool starts_with(TextView& text, TextView prefix) {
  if (text.size < prefix.size || !(TextView(text.data, prefix.size) == prefix)) return false;
  text = {text.data + prefix.size, text.size - prefix.size};
  return true;
}

/// Reads "NUMBER." off the front.
bool take_number(TextView& text, std::size_t& number) {
  std::size_t digits = 0;
  number = 0;
  while (digits < text.size && digits < 9 && text.data[digits] >= '0' && text.data[digits] <= '9') {
    number = number * 10 + static_cast<std::size_t>(text.data[digits] - '0');
    ++digits;
  }
  if (digits == 0 || digits == text.size || text.data[digits] != '.') return false;
  text = {text.data + digits + 1, text.size - digits - 1};
  return true;
}

template <class Stats, std::size_t kFields>
const StatField<Stats>* find_field(const StatField<Stats> (&fields)[kFields], TextView name) {
  for (const auto& field : fields) {
    if (name == TextView(field.name)) return &field;
  }
  return nullptr;
}

bool find(TextView name, Found& found) {
  for (const Control& control : kHeapControls) {
    if (name == TextView(control.name)) {
      found.control = &control;
      return true;
    }
  }
  if (starts_with(name, "stats.")) {
    found.total = find_field(kStatFields, name);
    return found.total != nullptr;
  }
  if (starts_with(name, "option.")) {
    found.option = find_option(name);
    return found.option != nullptr;
  }
  if (starts_with(name, "class.")) {
    if (!take_number(name, found.number) || found.number < 1 || found.number > kClassCount) {
      return false;
    }
    found.of_class = find_field(kClassFields, name);
    return found.of_class != nullptr;
  }
  if (starts_with(name, "shard.")) {
    if (!take_number(name, found.number) || found.number >= carrel_stats_shards(nullptr, 0)) {
      return false;
    }
    found.of_shard = find_field(kShardFields, name);
    return found.of_shard != nullptr;
  }
  if (starts_with(name, "arena.")) {
    carrel_arena_stats unused;
    const ArenaReports* arenas = arena_reports.load(std::memory_order_acquire);
    if (!take_number(name, found.number) || arenas == nullptr ||
        !arenas->stats(found.number, unused)) {
      return false;
    }
    found.arena_reset = name == TextView("reset");
    found.of_arena = find_field(kArenaFields, name);
    return found.arena_reset || found.of_arena != nullptr;
  }
  return false;
}

carrel_ctl_type type_of(const Found& found) {
  if (found.arena_reset) return CARREL_CTL_ACTION;
  if (found.control != nullptr) return found.control->type;
  if (found.option != nullptr && found.option->words != nullptr) return CARREL_CTL_WORD;
  return CARREL_CTL_NUMBER;
}

carrel_result read_number(const Found& found, std::uint64_t& value) {
  if (found.control != nullptr) {
    return found.control->read == nullptr ? CARREL_WRONG_TYPE : found.control->read(value);
  }
  if (found.option != nullptr) {
    value = process_heap.options_now().*found.option->field;
    return CARREL_OK;
  }
  if (found.total != nullptr) {
    carrel_stats stats;
    // Only these need the system's answer, which takes its time.
    const bool resident = found.total->member == &carrel_stats::resident_bytes ||
                          found.total->member == &carrel_stats::metadata_resident_bytes ||
                          found.total->member == &carrel_stats::huge_bytes;
    fill_stats(stats, resident);
    value = stats.*found.total->member;
    return CARREL_OK;
  }
  if (found.of_class != nullptr) {
    carrel_class_stats classes[kClassCount];
    carrel_stats_classes(classes, kClassCount);
    value = classes[found.number - 1].*found.of_class->member;
    return CARREL_OK;
  }
  if (found.of_arena != nullptr) {
    carrel_arena_stats stats;
    if (!arena_reports.load(std::memory_order_acquire)->stats(found.number, stats)) {
      return CARREL_UNKNOWN_NAME;  // destroyed meanwhile
    }
    value = stats.*found.of_arena->member;
    return CARREL_OK;
  }
  if (found.arena_reset) return CARREL_WRONG_TYPE;
  carrel_shard_stats shards[kMaxShardsShown];
  carrel_stats_shards(shards, kMaxShardsShown);
  value = shards[found.number].*found.of_shard->member;
  return CARREL_OK;
}

carrel_result write_option(const OptionSpec& spec, TextView value) {
  switch (process_heap.set_option_now(spec.key, value)) {
    case OptionError::kNone:
      return CARREL_OK;
    case OptionError::kUnknownKey:
      return CARREL_UNKNOWN_NAME;
    case OptionError::kBadValue:
      return CARREL_OUT_OF_RANGE;
    case OptionError::kFixed:
      return CARREL_READ_ONLY;
  }
  return CARREL_BAD_ARGUMENT;
}

bool is_arena_limit(const Found& found) {
  return found.of_arena != nullptr && found.of_arena->member == &carrel_arena_stats::limit_bytes;
}

/// Reads a decimal number of any size that fits.
bool parse_u64(TextView text, std::uint64_t& value) {
  if (text.size == 0) return false;
  value = 0;
  for (std::size_t i = 0; i < text.size; ++i) {
    const char digit = text.data[i];
    if (digit < '0' || digit > '9' || __builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, static_cast<std::uint64_t>(digit - '0'), &value)) {
      return false;
    }
  }
  return true;
}

/// Why this cannot be written, or CARREL_OK.
carrel_result check_writable(const Found& found) {
  if (type_of(found) == CARREL_CTL_ACTION) return CARREL_WRONG_TYPE;
  const bool control = found.control != nullptr && found.control->write != nullptr;
  return found.option == nullptr && !control && !is_arena_limit(found) ? CARREL_READ_ONLY
                                                                       : CARREL_OK;
}

/// What is neither an option nor an arena's.
carrel_result write_control(const Control& control, std::uint64_t value) {
  if (value < control.minimum || value > control.maximum) return CARREL_OUT_OF_RANGE;
  return control.write(value);
}

carrel_result write_arena_limit(const Found& found, std::uint64_t bytes) {
  return arena_reports.load(std::memory_order_acquire)->set_limit(found.number, bytes)
             ? CARREL_OK
             : CARREL_UNKNOWN_NAME;
}

template <class Stats, std::size_t kFields>
bool list_fields(std::size_t& index, const char* prefix, const StatField<Stats> (&fields)[kFields],
                 carrel_ctl_info& info) {
  if (index >= kFields) {
    index -= kFields;
    return false;
  }
  const StatField<Stats>& field = fields[index];
  TextBuffer<sizeof info.name> name;
  name << prefix << field.name;
  memcpy(info.name, name.data(), name.size() + 1);
  info.meaning = field.meaning;
  info.unit = field.unit;
  info.type = CARREL_CTL_NUMBER;
  return true;
}

/// The unit that an option's key ends with.
const char* unit_of(const OptionSpec& spec) {
  const TextView key(spec.key);
  const auto ends_with = [&](TextView end) {
    return key.size > end.size && TextView(key.data + key.size - end.size, end.size) == end;
  };
  if (spec.words != nullptr) return "";
  if (ends_with("_ms")) return "ms";
  if (ends_with("_kib")) return "KiB";
  if (ends_with("_mib")) return "MiB";
  return "count";
}

/// Fills `info` with the control of this number; false beyond the last.
bool list(std::size_t index, carrel_ctl_info& info) {
  TextBuffer<sizeof info.name> name;
  if (index < std::size(kHeapControls)) {
    const Control& control = kHeapControls[index];
    name << control.name;
    memcpy(info.name, name.data(), name.size() + 1);
    info.meaning = control.meaning;
    info.unit = control.unit;
    info.type = control.type;
    info.writable = control.write != nullptr ? 1 : 0;
    info.minimum = control.minimum;
    info.maximum = control.maximum;
    return true;
  }
  index -= std::size(kHeapControls);
  if (index < std::size(kOptionTable)) {
    const OptionSpec& spec = kOptionTable[index];
    name << "option." << spec.key;
    memcpy(info.name, name.data(), name.size() + 1);
    info.meaning = spec.meaning;
    info.unit = unit_of(spec);
    info.type = spec.words == nullptr ? CARREL_CTL_NUMBER : CARREL_CTL_WORD;
    info.writable = spec.changeable ? 1 : 0;
    info.minimum = spec.minimum;
    info.maximum = spec.maximum;
    info.words = spec.words;
    return true;
  }
  index -= std::size(kOptionTable);
  if (list_fields(index, "stats.", kStatFields, info) ||
      list_fields(index, "class.<i>.", kClassFields, info) ||
      list_fields(index, "shard.<i>.", kShardFields, info)) {
    return true;
  }
  if (list_fields(index, "arena.<i>.", kArenaFields, info)) {
    if (TextView(info.name) == TextView("arena.<i>.limit_bytes")) {
      info.writable = 1;
      info.maximum = UINT64_MAX;
    }
    return true;
  }
  if (index != 0) return false;
  name << "arena.<i>.reset";
  memcpy(info.name, name.data(), name.size() + 1);
  info.meaning = "gives every block of the arena back at once";
  info.unit = "";
  info.type = CARREL_CTL_ACTION;
  return true;
}

}  // namespace
}  // namespace carrel::core

namespace core = carrel::core;

extern "C" {

carrel_result carrel_ctl_read_u64(const char* name, uint64_t* value) {
  if (name == nullptr || value == nullptr) return CARREL_BAD_ARGUMENT;
  core::Found found;
  if (!core::find(name, found)) return CARREL_UNKNOWN_NAME;
  uint64_t now = 0;
  const carrel_result result = core::read_number(found, now);
  if (result == CARREL_OK) *value = now;
  return result;
}

carrel_result carrel_ctl_read_text(const char* name, char* buffer, size_t capacity) {
  if (name == nullptr || buffer == nullptr) return CARREL_BAD_ARGUMENT;
  core::Found found;
  if (!core::find(name, found)) return CARREL_UNKNOWN_NAME;
  const carrel_ctl_type type = core::type_of(found);
  if (type == CARREL_CTL_TEXT) return found.control->text(buffer, capacity);
  uint64_t value = 0;
  const carrel_result result = core::read_number(found, value);
  if (result != CARREL_OK) return result;
  if (type == CARREL_CTL_WORD) {
    return core::copy_text(found.option->words[value], buffer, capacity);
  }
  core::TextBuffer<24> digits;
  digits << value;
  return core::copy_text({digits.data(), digits.size()}, buffer, capacity);
}

carrel_result carrel_ctl_write_u64(const char* name, uint64_t value) {
  if (name == nullptr) return CARREL_BAD_ARGUMENT;
  core::Found found;
  if (!core::find(name, found)) return CARREL_UNKNOWN_NAME;
  const carrel_result writable = core::check_writable(found);
  if (writable != CARREL_OK) return writable;
  if (found.control != nullptr) return core::write_control(*found.control, value);
  if (found.option == nullptr) return core::write_arena_limit(found, value);
  const core::OptionSpec& spec = *found.option;
  if (value < spec.minimum || value > spec.maximum) return CARREL_OUT_OF_RANGE;
  if (spec.words != nullptr) return core::write_option(spec, spec.words[value]);
  core::TextBuffer<24> digits;
  digits << value;
  return core::write_option(spec, {digits.data(), digits.size()});
}

carrel_result carrel_ctl_write_text(const char* name, const char* value) {
  if (name == nullptr || value == nullptr) return CARREL_BAD_ARGUMENT;
  core::Found found;
  if (!core::find(name, found)) return CARREL_UNKNOWN_NAME;
  const carrel_result writable = core::check_writable(found);
  if (writable != CARREL_OK) return writable;
  if (found.option != nullptr) return core::write_option(*found.option, value);
  uint64_t number = 0;
  if (!core::parse_u64(value, number)) return CARREL_OUT_OF_RANGE;
  if (found.control != nullptr) return core::write_control(*found.control, number);
  return core::write_arena_limit(found, number);
}

carrel_result carrel_ctl_run(const char* name) {
  if (name == nullptr) return CARREL_BAD_ARGUMENT;
  core::Found found;
  if (!core::find(name, found)) return CARREL_UNKNOWN_NAME;
  if (core::type_of(found) != CARREL_CTL_ACTION) return CARREL_WRONG_TYPE;
  if (found.control != nullptr) return found.control->run();
  return core::arena_reports.load(std::memory_order_acquire)->reset(found.number)
             ? CARREL_OK
             : CARREL_UNKNOWN_NAME;
}

carrel_result carrel_ctl_list(size_t index, carrel_ctl_info* info) {
  if (info == nullptr) return CARREL_BAD_ARGUMENT;
  carrel_ctl_info entry = {};
  if (!core::list(index, entry)) return CARREL_OUT_OF_RANGE;
  *info = entry;
  return CARREL_OK;
}

}  // extern "C"
