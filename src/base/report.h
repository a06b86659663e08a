// What carrel says before it ends a process: one noreturn function per kind of failure.
//
// Each writes a single line `carrel: error CODE: explanation: pointer 0x...` to standard
// error and aborts. CODE is stable and documented in docs/SECURITY.md. Nothing here
// allocates or takes a lock, so any path may call it at any moment. `Os` is the platform
// layer, of which only write_stderr and abort are used.
#pragma once

#include "base/compiler.h"
#include "base/text.h"

namespace carrel::core {

template <class Os>
struct Report {
  /// A block was freed again: its slot is already free.
  [[noreturn]] CARREL_COLD static void double_free(const void* pointer) {
    misuse("double-free", "this block is already free", pointer);
  }

  /// A pointer that carrel never returned: a stack, static, mapped or wild address.
  [[noreturn]] CARREL_COLD static void invalid_free(const void* pointer) {
    misuse("invalid-free", "expected a block of this heap, and this address never was one",
           pointer);
  }

  /// A pointer into a block or between blocks instead of at a block's first byte.
  [[noreturn]] CARREL_COLD static void interior_pointer(const void* pointer) {
    misuse("interior-pointer", "expected the first byte of a block", pointer);
  }

  /// A rule of carrel's own was broken: a bug in carrel, or memory of its own overwritten.
  [[noreturn]] CARREL_COLD static void internal_error(const char* broken_rule) {
    TextBuffer<256> line;
    line << "carrel: internal error: " << broken_rule << "\n";
    Os::write_stderr(line.data(), line.size());
    Os::abort();
  }

  static void check(bool holds, const char* rule) {
    if (CARREL_UNLIKELY(!holds)) internal_error(rule);
  }

 private:
  [[noreturn]] static void misuse(const char* code, const char* text, const void* pointer) {
    TextBuffer<256> line;
    line << "carrel: error " << code << ": " << text << ": pointer " << pointer << "\n";
    Os::write_stderr(line.data(), line.size());
    Os::abort();
  }
};

}  // namespace carrel::core
