// How to get from a frame to the one that called it, in one word: where the frame's end is (the
// CFA: what the stack pointer is after the return), and where the caller's frame register was
// saved. The return address is always the last word before the end. x86-64 only.
//
// What the tables of a program can say beyond that, about signals' frames for instance, has no rule
// of this kind: kOther.
#pragma once

#include "base/bits.h"

namespace carrel::core {

class FrameRule {
 public:
  enum class Kind : std::uint8_t {
    kNone,               // nothing is known
    kFromStackPointer,   // the end is at the stack pointer + the offset
    kFromFrameRegister,  // at the frame register + the offset
    kThroughFrame,       // in the word at the frame register + the offset: after an alignment
    kOutermost,          // there is no caller, or no table covers this code
    kOther,              // not to be had by such a rule
  };
  /// Where the caller's frame register is.
  static constexpr std::uint32_t kUnchanged = 0;
  static constexpr std::uint32_t kAtFrameRegister = 0xFF;  // in the word that it points to itself
  static constexpr std::uint32_t kMostSavedWords = 0xFE;   // else so many words below the end
  static constexpr std::uint32_t kBits = 27;

  constexpr FrameRule() = default;
  constexpr explicit FrameRule(Kind kind) : bits_(static_cast<std::uint32_t>(kind)) {}
  /// kOther if the offset, in bytes, is not one of words within 256 KiB.
  static constexpr FrameRule make(Kind kind, std::int64_t offset, std::uint32_t saved) {
    if (offset % 8 != 0 || offset < -kMostBytes || offset >= kMostBytes) {
      return FrameRule(Kind::kOther);
    }
    FrameRule rule(kind);
    rule.bits_ |= (static_cast<std::uint32_t>(offset / 8) & 0xFFFF) << 3 | saved << 19;
    return rule;
  }
  static constexpr FrameRule from_bits(std::uint32_t bits) {
    FrameRule rule;
    rule.bits_ = bits;
    return rule;
  }

  constexpr std::uint32_t bits() const { return bits_; }
  constexpr Kind kind() const { return static_cast<Kind>(bits_ & 7); }
  constexpr std::int64_t offset() const {
    return std::int64_t{static_cast<std::int16_t>(bits_ >> 3)} * 8;
  }
  constexpr std::uint32_t saved() const { return bits_ >> 19; }
  constexpr bool operator==(const FrameRule&) const = default;

 private:
  static constexpr std::int64_t kMostBytes = 32768 * 8;

  std::uint32_t bits_ = 0;
};

}  // namespace carrel::core
