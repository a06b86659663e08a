// The process's arenas, for the two files that make up their functions.
#pragma once

#include <carrel/carrel.h>

#include "api/instance.h"
#include "heap/arena_set.h"

namespace carrel::core {

using ProcessArena = Arena<ProcessHeap::Os>;
using ProcessArenas = ArenaSet<ProcessHeap::Os>;

inline ProcessArena* from_handle(carrel_arena* arena) {
  return reinterpret_cast<ProcessArena*>(arena);
}
inline carrel_arena* to_handle(ProcessArena* arena) {
  return reinterpret_cast<carrel_arena*>(arena);
}

/// The set, made if need be; null when memory is exhausted.
ProcessArenas* make_arenas();

/// What an arena of carrel_arena_create_with remembers of its pages: the context of its Backing.
struct ArenaPages {
  carrel_page_hooks hooks;
  carrel_pages kind;
  std::uint64_t nodes;
  int file;
  std::uint64_t file_offset;
  std::size_t file_bytes;
  std::size_t file_page_bytes;
  void* region;  // where the file is mapped
  long error;    // of the last refusal, an error number as a negative value
};

}  // namespace carrel::core
