// Remembers the rules of return addresses: a stack of which every frame was met before is read
// without looking at any table.
//
// A rule is one word in a table of fixed size, with enough of its address to be known by: so that
// whoever reads it has the rule of this address or none, and relaxed loads and stores suffice. What
// a word says was true of the code that was there when it was written. It is not true for ever:
// libraries are unloaded, and others mapped in their place. Whoever looks into the loader's list
// compares how many were unloaded so far, and empties the table if that is news; learn_frame_rule()
// looks there each time, and forget_unloaded_code() when it is called. In between, a stack may have
// frames of a new library whose return addresses are those of an old one, byte by byte, and get
// their callers wrong. Whoever follows rules therefore reads no memory just because a rule says so.
#pragma once

#include <atomic>

#include "os/linux/frame_rule.h"

namespace carrel::core {

class FrameRuleTable {
 public:
  /// kNone: not in the table.
  FrameRule find(std::uintptr_t address) const {
    const std::atomic<std::uint64_t>* set = sets_[set_of(address)];
    for (unsigned i = 0; i < kWays; ++i) {
      const std::uint64_t word = set[i].load(std::memory_order_relaxed);
      if (word >> FrameRule::kBits == address >> kSetBits) return rule_of(word);
    }
    return {};
  }

  /// In the place of the rule that was added longest ago of those that it could be taken for.
  void add(std::uintptr_t address, FrameRule rule) {
    if (address >> kSetBits >> (64 - FrameRule::kBits) != 0) return;
    std::atomic<std::uint64_t>* set = sets_[set_of(address)];
    for (unsigned i = kWays - 1; i > 0; --i) {
      set[i].store(set[i - 1].load(std::memory_order_relaxed), std::memory_order_relaxed);
    }
    set[0].store(address >> kSetBits << FrameRule::kBits | rule.bits(), std::memory_order_relaxed);
  }

  /// What another thread adds meanwhile may stay.
  void clear() {
    for (auto& set : sets_) {
      for (auto& word : set) {
        if (word.load(std::memory_order_relaxed) != 0) word.store(0, std::memory_order_relaxed);
      }
    }
  }

 private:
  static constexpr unsigned kSetBits = 13;
  static constexpr unsigned kWays = 2;

  /// With the bits above the set's it gives back the address.
  static constexpr std::size_t set_of(std::uintptr_t address) {
    return (address ^ address >> kSetBits ^ address >> 2 * kSetBits) &
           ((std::size_t{1} << kSetBits) - 1);
  }
  static constexpr FrameRule rule_of(std::uint64_t word) {
    return FrameRule::from_bits(word & ((1u << FrameRule::kBits) - 1));
  }

  alignas(64) std::atomic<std::uint64_t> sets_[std::size_t{1} << kSetBits][kWays] = {};
};

/// The process's; 128 KiB that no page is used for until a stack is read.
extern constinit FrameRuleTable frame_rules;

/// Looks the rule up in the tables of the object that has the code, and adds it. kNone: it is in
/// none. Sets `emptied` if the table had rules of what was unloaded. Takes the lock that glibc's
/// loader changes its list of objects under: it can be taken anew by a thread that has it, and no
/// malloc waits for it but this one.
FrameRule learn_frame_rule(std::uintptr_t return_address, bool& emptied);

/// From now on, in this process: no new rules are learned, and unloading goes unnoticed. For the
/// child of a process whose other threads may have held the loader's lock, which glibc's fork()
/// does not free in the child: to wait for it there would be for ever.
void never_ask_loader();

/// Empties the table if anything was unloaded since this was last looked at.
void forget_unloaded_code();

}  // namespace carrel::core
