// The index of the tables, their entries, and the little programs in them, as far as a FrameRule
// can say what they do. The format is that of the System V ABI for x86-64 and of DWARF.
#include "os/linux/frame_tables.h"

#include <cstring>

namespace carrel::core {
namespace {

/// The numbers that the tables have for two registers, and for where to return to.
constexpr std::uint64_t kFrameRegister = 6;
constexpr std::uint64_t kStackPointer = 7;
constexpr std::uint64_t kReturnAddress = 16;

constexpr std::uint8_t kAligned = 0x50;  // of a pointer's encoding

/// Takes values off a range. Behind its end there are zeros, and good() is false from then on.
class TableReader {
 public:
  TableReader(std::uintptr_t at, std::uintptr_t end) : at_(at), end_(end), good_(at <= end) {}

  bool good() const { return good_; }
  bool at_end() const { return !good_ || at_ == end_; }
  std::uintptr_t at() const { return at_; }
  void fail() { good_ = false; }
  void skip(std::uint64_t bytes) {
    if (!good_ || bytes > end_ - at_) return fail();
    at_ += bytes;
  }
  /// The next so many bytes, on their own.
  TableReader part(std::uint64_t bytes) {
    const std::uintptr_t start = at_;
    skip(bytes);
    return good_ ? TableReader(start, at_) : TableReader(1, 0);
  }

  template <class T>
  T take() {
    T value{};
    if (!good_ || sizeof(T) > end_ - at_) {
      fail();
      return value;
    }
    memcpy(&value, at_address<const void>(at_), sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  std::uint64_t take_uleb() {
    unsigned shift = 0;
    bool negative = false;
    return take_leb(shift, negative);
  }
  std::int64_t take_sleb() {
    unsigned shift = 0;
    bool negative = false;
    std::uint64_t value = take_leb(shift, negative);
    if (negative && shift < 64) value |= ~std::uint64_t{0} << shift;
    return static_cast<std::int64_t>(value);
  }

  /// In one of the encodings that x86-64 uses; `with_base`: as it stands, or from its own place on.
  std::uintptr_t take_pointer(std::uint8_t encoding, bool with_base) {
    const std::uintptr_t place = at_;
    std::uintptr_t value = 0;
    switch (encoding & 0xF) {
      case 0x0:
      case 0x4:
      case 0xC:
        value = take<std::uint64_t>();
        break;
      case 0x2:
        value = take<std::uint16_t>();
        break;
      case 0x3:
        value = take<std::uint32_t>();
        break;
      case 0xA:
        value = static_cast<std::uintptr_t>(std::int64_t{take<std::int16_t>()});
        break;
      case 0xB:
        value = static_cast<std::uintptr_t>(std::int64_t{take<std::int32_t>()});
        break;
      default:
        fail();
    }
    if (!with_base) return value;
    if ((encoding & 0xF0) == kFromItsPlace) return value + place;
    if ((encoding & 0xF0) != 0) fail();
    return value;
  }

  static constexpr std::uint8_t kFromItsPlace = 0x10;

 private:
  std::uint64_t take_leb(unsigned& shift, bool& negative) {
    std::uint64_t value = 0;
    for (shift = 0;;) {
      const auto byte = take<std::uint8_t>();
      if (shift >= 64) fail();
      if (!good_) return 0;
      value |= std::uint64_t{byte & 0x7Fu} << shift;
      shift += 7;
      negative = (byte & 0x40) != 0;
      if ((byte & 0x80) == 0) return value;
    }
  }

  std::uintptr_t at_;
  std::uintptr_t end_;
  bool good_;
};

/// What many entries have in common (a CIE).
struct CommonEntry {
  std::uint64_t code_unit = 0;
  std::int64_t data_unit = 0;
  std::uint8_t pointer_encoding = 0;
  bool has_extra = false;
  TableReader program{1, 0};
};

/// An entry's length, and then the rest of it on its own. Not good for the 64-bit form.
TableReader take_entry(std::uintptr_t at, std::uintptr_t end) {
  TableReader reader(at, end);
  const auto length = reader.take<std::uint32_t>();
  if (length == 0 || length >= 0xFFFFFFF0) reader.fail();
  return reader.part(length);
}

/// False for what is not understood, and for the frames of signals, where "the code before the
/// return address" does not hold.
bool read_common(std::uintptr_t at, std::uintptr_t end, CommonEntry& entry) {
  TableReader reader = take_entry(at, end);
  if (reader.take<std::uint32_t>() != 0) return false;  // an entry of another kind
  const auto version = reader.take<std::uint8_t>();
  if (version != 1 && version != 3) return false;
  char letters[8] = {};
  for (std::size_t i = 0;; ++i) {
    if (i == sizeof letters) return false;
    letters[i] = reader.take<char>();
    if (letters[i] == '\0') break;
  }
  entry.code_unit = reader.take_uleb();
  entry.data_unit = reader.take_sleb();
  const std::uint64_t column = version == 1 ? reader.take<std::uint8_t>() : reader.take_uleb();
  if (column != kReturnAddress) return false;
  if (letters[0] == 'z') {
    entry.has_extra = true;
    TableReader extra = reader.part(reader.take_uleb());
    for (const char* letter = letters + 1; *letter != '\0'; ++letter) {
      if (*letter == 'R') {
        entry.pointer_encoding = extra.take<std::uint8_t>();
      } else if (*letter == 'L') {
        extra.take<std::uint8_t>();
      } else if (*letter == 'P') {
        const auto encoding = extra.take<std::uint8_t>();
        if ((encoding & 0x70) == kAligned) return false;
        extra.take_pointer(encoding, false);
      } else {
        return false;  // 'S' as well: a signal's frame
      }
    }
    if (!extra.good()) return false;
  } else if (letters[0] != '\0') {
    return false;
  }
  entry.program = reader;
  return reader.good();
}

/// What is known of a frame while a program runs: of all registers, three matter, and that the
/// stack pointer has no rule of its own, as where stacks are switched.
struct FrameState {
  FrameRule::Kind kind = FrameRule::Kind::kOther;
  bool on_register = false;  // the end is given by register and offset
  std::uint64_t base = 0;
  std::int64_t offset = 0;

  enum class Saved : std::uint8_t { kUnchanged, kBelowEnd, kAtFrameRegister, kUndefined, kOther };
  Saved frame_register = Saved::kUnchanged;
  std::int64_t frame_offset = 0;  // from the end, for kBelowEnd
  Saved return_address = Saved::kUnchanged;
  std::int64_t return_offset = 0;
  bool stack_pointer_saved = false;

  void set_end(std::uint64_t from, std::int64_t distance) {
    on_register = true;
    base = from;
    offset = distance;
    kind = from == kStackPointer    ? FrameRule::Kind::kFromStackPointer
           : from == kFrameRegister ? FrameRule::Kind::kFromFrameRegister
                                    : FrameRule::Kind::kOther;
  }
  void set_saved(std::uint64_t which, Saved how, std::int64_t distance = 0) {
    if (which == kFrameRegister) {
      frame_register = how;
      frame_offset = distance;
    } else if (which == kReturnAddress) {
      return_address = how;
      return_offset = distance;
    } else if (which == kStackPointer) {
      stack_pointer_saved = how != Saved::kUnchanged;
    }
  }
  void restore(std::uint64_t which, const FrameState& from) {
    if (which == kFrameRegister) set_saved(which, from.frame_register, from.frame_offset);
    if (which == kReturnAddress) set_saved(which, from.return_address, from.return_offset);
    if (which == kStackPointer) stack_pointer_saved = from.stack_pointer_saved;
  }

  FrameRule rule() const {
    if (return_address == Saved::kUndefined) return FrameRule(FrameRule::Kind::kOutermost);
    if (return_address != Saved::kBelowEnd || return_offset != -8)
      return FrameRule(FrameRule::Kind::kOther);
    if (kind == FrameRule::Kind::kOther || stack_pointer_saved) {
      return FrameRule(FrameRule::Kind::kOther);
    }
    switch (frame_register) {
      case Saved::kUnchanged:
      case Saved::kUndefined:
        return FrameRule::make(kind, offset, FrameRule::kUnchanged);
      case Saved::kAtFrameRegister:
        return FrameRule::make(kind, offset, FrameRule::kAtFrameRegister);
      case Saved::kBelowEnd:
        if (frame_offset % 8 == 0 && frame_offset < 0 &&
            frame_offset >= -8 * std::int64_t{FrameRule::kMostSavedWords}) {
          return FrameRule::make(kind, offset, static_cast<std::uint32_t>(-frame_offset / 8));
        }
        break;
      case Saved::kOther:
        break;
    }
    return FrameRule(FrameRule::Kind::kOther);
  }
};

/// Runs the programs of tables.
class FrameProgram {
 public:
  FrameProgram(const CommonEntry& common, std::uintptr_t start, std::uintptr_t target)
      : common_(common), at_(start), target_(target) {}

  /// As far as the code before the return address is concerned. False for what is not understood.
  bool run(TableReader program) {
    while (!program.at_end() && at_ <= target_) {
      const auto code = program.take<std::uint8_t>();
      const std::uint8_t low = code & 0x3F;
      switch (code >> 6) {
        case 1:
          advance(low);
          break;
        case 2:
          state_.set_saved(low, Saved::kBelowEnd, scaled(program.take_uleb()));
          break;
        case 3:
          state_.restore(low, initial_);
          break;
        default:
          if (!run_other(low, program)) return false;
      }
    }
    return program.good();
  }

  void begin_own() { initial_ = state_; }
  const FrameState& state() const { return state_; }

 private:
  using Saved = FrameState::Saved;

  void advance(std::uint64_t units) { at_ += units * common_.code_unit; }
  std::int64_t scaled(std::uint64_t units) const {
    return static_cast<std::int64_t>(units * static_cast<std::uint64_t>(common_.data_unit));
  }

  bool run_other(std::uint8_t code, TableReader& program) {
    switch (code) {
      case 0x00:  // nop
        return true;
      case 0x01:  // set_loc
        at_ = program.take_pointer(common_.pointer_encoding, true);
        return true;
      case 0x02:  // advance_loc1, 2, 4
        advance(program.take<std::uint8_t>());
        return true;
      case 0x03:
        advance(program.take<std::uint16_t>());
        return true;
      case 0x04:
        advance(program.take<std::uint32_t>());
        return true;
      case 0x0A:  // remember_state
        if (remembered_ == kMostRemembered) return false;
        stack_[remembered_++] = state_;
        return true;
      case 0x0B:  // restore_state
        if (remembered_ == 0) return false;
        state_ = stack_[--remembered_];
        return true;
      case 0x2E:  // GNU_args_size
        program.take_uleb();
        return true;
      default:
        return code >= 0x0C && code <= 0x0F   ? run_end(code, program)
               : code == 0x12 || code == 0x13 ? run_end(code, program)
                                              : run_register(code, program);
    }
  }

  /// What says where the frame's end is.
  bool run_end(std::uint8_t code, TableReader& program) {
    if (code == 0x0F) {  // def_cfa_expression
      TableReader expression = program.part(program.take_uleb());
      state_.on_register = false;
      state_.kind = FrameRule::Kind::kOther;
      std::int64_t offset = 0;
      if (take_frame_offset(expression, offset) &&
          expression.take<std::uint8_t>() == kDereference && expression.good() &&
          expression.at_end()) {
        state_.kind = FrameRule::Kind::kThroughFrame;
        state_.offset = offset;
      }
      return true;
    }
    std::uint64_t base = state_.base;
    std::int64_t offset = state_.offset;
    const bool whole = code == 0x0C || code == 0x12;  // def_cfa, def_cfa_sf
    if (!whole && !state_.on_register) return false;
    if (whole || code == 0x0D) base = program.take_uleb();  // ..._register
    if (code == 0x0C || code == 0x0E) {                     // ..._offset
      offset = static_cast<std::int64_t>(program.take_uleb());
    } else if (code != 0x0D) {  // ..._offset_sf
      offset = scaled(static_cast<std::uint64_t>(program.take_sleb()));
    }
    state_.set_end(base, offset);
    return true;
  }

  /// What says where a register was saved.
  bool run_register(std::uint8_t code, TableReader& program) {
    const std::uint64_t which = program.take_uleb();
    switch (code) {
      case 0x05:  // offset_extended
        state_.set_saved(which, Saved::kBelowEnd, scaled(program.take_uleb()));
        return true;
      case 0x06:  // restore_extended
        state_.restore(which, initial_);
        return true;
      case 0x07:  // undefined
        state_.set_saved(which, Saved::kUndefined);
        return true;
      case 0x08:  // same_value
        state_.set_saved(which, Saved::kUnchanged);
        return true;
      case 0x09:  // register
        program.take_uleb();
        state_.set_saved(which, Saved::kOther);
        return true;
      case 0x10: {  // expression
        TableReader expression = program.part(program.take_uleb());
        std::int64_t offset = 0;
        const bool simple = take_frame_offset(expression, offset) && expression.at_end() &&
                            offset == 0 && which == kFrameRegister;
        state_.set_saved(which, simple ? Saved::kAtFrameRegister : Saved::kOther);
        return true;
      }
      case 0x11:  // offset_extended_sf
        state_.set_saved(which, Saved::kBelowEnd,
                         scaled(static_cast<std::uint64_t>(program.take_sleb())));
        return true;
      case 0x14:  // val_offset
        program.take_uleb();
        state_.set_saved(which, Saved::kOther);
        return true;
      case 0x15:  // val_offset_sf
        program.take_sleb();
        state_.set_saved(which, Saved::kOther);
        return true;
      case 0x16:  // val_expression
        program.skip(program.take_uleb());
        state_.set_saved(which, Saved::kOther);
        return true;
      default:
        return false;
    }
  }

  static constexpr std::uint8_t kFrameRegisterPlus = 0x70 + kFrameRegister;
  static constexpr std::uint8_t kDereference = 0x06;

  /// The operation "frame register + offset".
  static bool take_frame_offset(TableReader& expression, std::int64_t& offset) {
    if (expression.take<std::uint8_t>() != kFrameRegisterPlus) return false;
    offset = expression.take_sleb();
    return expression.good();
  }

  static constexpr unsigned kMostRemembered = 8;

  const CommonEntry& common_;
  std::uintptr_t at_;
  std::uintptr_t target_;
  FrameState state_;
  FrameState initial_;  // after the common entry's program
  FrameState stack_[kMostRemembered];
  unsigned remembered_ = 0;
};

FrameRule read_entry(const FrameTables& tables, std::uintptr_t at, std::uintptr_t target) {
  constexpr FrameRule kOther(FrameRule::Kind::kOther);
  if (at < tables.segment_start) return kOther;
  TableReader reader = take_entry(at, tables.segment_end);
  const std::uintptr_t place = reader.at();
  const auto back = reader.take<std::uint32_t>();
  if (!reader.good() || back == 0 || back > place - tables.segment_start) return kOther;
  CommonEntry common;
  if (!read_common(place - back, tables.segment_end, common)) return kOther;
  const std::uintptr_t start = reader.take_pointer(common.pointer_encoding, true);
  const std::uintptr_t bytes = reader.take_pointer(common.pointer_encoding, false);
  if (common.has_extra) reader.skip(reader.take_uleb());
  if (!reader.good()) return kOther;
  if (target - start >= bytes) return FrameRule(FrameRule::Kind::kOutermost);
  FrameProgram program(common, start, target);
  if (!program.run(common.program)) return kOther;
  program.begin_own();
  return program.run(reader) ? program.state().rule() : kOther;
}

}  // namespace

FrameRule read_frame_rule(const FrameTables& tables, std::uintptr_t return_address) {
  constexpr FrameRule kOther(FrameRule::Kind::kOther);
  // Of the encodings of the index there is but one that linkers write: 32 bits from its start.
  constexpr std::uint8_t kSorted = 0x3B;
  const std::uintptr_t target = return_address - 1;
  TableReader reader(tables.index, tables.segment_end);
  if (tables.index < tables.segment_start || reader.take<std::uint8_t>() != 1) return kOther;
  const auto tables_encoding = reader.take<std::uint8_t>();
  const auto count_encoding = reader.take<std::uint8_t>();
  if (reader.take<std::uint8_t>() != kSorted) return kOther;
  reader.take_pointer(tables_encoding, false);
  const std::uintptr_t count = reader.take_pointer(count_encoding, false);
  struct Place {
    std::int32_t code;
    std::int32_t entry;
  };
  const std::uintptr_t first = reader.at();
  if (!reader.good() || count > (tables.segment_end - first) / sizeof(Place)) return kOther;
  const auto place_at = [&](std::uintptr_t i) {
    return TableReader(first + i * sizeof(Place), tables.segment_end).take<Place>();
  };
  const auto wanted = static_cast<std::int64_t>(target - tables.index);
  std::uintptr_t low = 0;  // the first whose code is behind the target
  for (std::uintptr_t high = count; low < high;) {
    const std::uintptr_t middle = low + (high - low) / 2;
    if (place_at(middle).code <= wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0) return FrameRule(FrameRule::Kind::kOutermost);
  const std::int64_t entry = place_at(low - 1).entry;
  return read_entry(tables, tables.index + static_cast<std::uintptr_t>(entry), target);
}

}  // namespace carrel::core
