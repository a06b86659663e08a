// How a pool that borrows has its memory backed: by the program, by a file, by huge pages, on
// chosen nodes. By functions, so that the core need not know how. No behaviour.
#pragma once

#include <cstddef>
#include <cstdint>

namespace carrel::core {

struct Backing {
  void* context = nullptr;
  /// Backs this range of the window, from now on readable and writable. False: refused. Null: the
  /// heap's own memory is as good; none of the rest matters then.
  bool (*commit)(void* context, void* start, std::size_t bytes) = nullptr;
  /// Gives pages back, as Os::purge does; false if it cannot. Null: never.
  bool (*purge)(void* context, void* start, std::size_t bytes) = nullptr;
  /// The range is about to be replaced by the heap's own memory. May be null.
  void (*release)(void* context, void* start, std::size_t bytes) = nullptr;
  std::uint32_t unit = 1;      // granules: how much at a time, and aligned how
  bool reads_as_zero = false;  // what was committed does
  bool only_once = false;      // all that there will be is committed at first
  bool on_any_thread = true;   // purge may be called by the helper thread
};

}  // namespace carrel::core
