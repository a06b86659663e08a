// What carrel says before it ends a process: one noreturn function per kind of failure.
//
// Each writes a single line `carrel: error CODE: explanation: pointer 0x...` to standard
// error and aborts. CODE is stable and documented in docs/SECURITY.md. Nothing here
// allocates or takes a lock, so any path may call it at any moment. `Os` is the platform
// layer, of which only write_stderr and abort are used.
#pragma once

#include <atomic>

#include "base/compiler.h"
#include "base/text.h"

namespace carrel::core {

/// What was just written, for who adds to it.
struct Reported {
  const char* line;  // with its end of line
  std::size_t line_size;
  const void* pointer;  // that it names; null if none
  const void* code;     // of a memory fault: the instruction; else null
};

/// Called after a report's line was written, on the thread that is about to end the process, if it
/// was set: it must neither allocate nor lock. See src/api/reports.cc.
inline constinit std::atomic<void (*)(const Reported&)> after_report{nullptr};

template <class Os>
struct Report {
  /// A block was freed again: its slot is already free.
  [[noreturn]] CARREL_COLD static void double_free(const void* pointer, const char* around = "") {
    misuse("double-free", "this block is already free", pointer, around);
  }

  /// A pointer that carrel never returned: a stack, static, mapped or wild address.
  [[noreturn]] CARREL_COLD static void invalid_free(const void* pointer) {
    misuse("invalid-free", "expected a block of this heap, and this address never was one",
           pointer);
  }

  /// A pointer into a block or between blocks instead of at a block's first byte.
  [[noreturn]] CARREL_COLD static void interior_pointer(const void* pointer,
                                                        const char* around = "") {
    misuse("interior-pointer", "expected the first byte of a block", pointer, around);
  }

  // What only a hardened build notices. `around` says where the pointer lies and what is beside it.

  /// Where a block could be, but none was handed out there yet.
  [[noreturn]] CARREL_COLD static void never_handed_out(const void* pointer, const char* around) {
    misuse("invalid-free", "no block was handed out here", pointer, around);
  }

  /// The bytes behind a block are not as they were left: written to from it, or from the next.
  [[noreturn]] CARREL_COLD static void overflow(const void* pointer, const char* around) {
    misuse("overflow", "bytes behind this block were overwritten", pointer, around);
  }

  /// The bytes in front of a block, where no block was yet, are not zero any more.
  [[noreturn]] CARREL_COLD static void underflow(const void* pointer, const char* around) {
    misuse("underflow", "bytes in front of this block were overwritten", pointer, around);
  }

  /// A free block's memory is not as it was left.
  [[noreturn]] CARREL_COLD static void write_after_free(const void* pointer, const char* around) {
    misuse("write-after-free", "this free block was written to", pointer, around);
  }

  /// A sized delete that names another size than the block's.
  [[noreturn]] CARREL_COLD static void size_mismatch(const void* pointer, std::size_t said,
                                                     std::size_t size) {
    TextBuffer<96> sizes;
    sizes << ", said " << std::uint64_t{said} << ", is " << std::uint64_t{size};
    misuse("size-mismatch", "this block has another size", pointer, sizes.data());
  }

  /// An aligned delete that names an alignment the block does not have.
  [[noreturn]] CARREL_COLD static void alignment_mismatch(const void* pointer,
                                                          std::size_t alignment) {
    TextBuffer<96> said;
    said << ", said " << std::uint64_t{alignment};
    misuse("alignment-mismatch", "this block is not so aligned", pointer, said.data());
  }

  /// The program touched memory that it cannot touch, and is about to end by that: says so, and
  /// returns.
  CARREL_COLD static void fault(const char* code, const char* text, const void* pointer,
                                const char* around, const void* instruction) {
    say(code, text, pointer, around, instruction);
  }

  /// A rule of carrel's own was broken: a bug in carrel, or memory of its own overwritten.
  [[noreturn]] CARREL_COLD static void internal_error(const char* broken_rule) {
    TextBuffer<256> line;
    line << "carrel: internal error: " << broken_rule << "\n";
    write(line, nullptr, nullptr);
    Os::abort();
  }

  static void check(bool holds, const char* rule) {
    if (CARREL_UNLIKELY(!holds)) internal_error(rule);
  }

 private:
  [[noreturn]] static void misuse(const char* code, const char* text, const void* pointer,
                                  const char* around = "") {
    say(code, text, pointer, around);
    Os::abort();
  }
  CARREL_COLD static void say(const char* code, const char* text, const void* pointer,
                              const char* around, const void* instruction = nullptr) {
    TextBuffer<320> line;
    line << "carrel: error " << code << ": " << text << ": pointer " << pointer << around << "\n";
    write(line, pointer, instruction);
  }
  template <class Line>
  static void write(const Line& line, const void* pointer, const void* instruction) {
    Os::write_stderr(line.data(), line.size());
    // Acquire pairs with the release where it is set: what it uses is there.
    const auto add = after_report.load(std::memory_order_acquire);
    if (add == nullptr) return;
    add({.line = line.data(), .line_size = line.size(), .pointer = pointer, .code = instruction});
  }
};

}  // namespace carrel::core
