// Which allocators there are on this machine, and how a program is started on one of them. Finding
// looks at files only; whether an allocator takes effect in a program is launch/proof.h's matter.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "trace/event.h"

namespace carrel::tools {

struct Allocator {
  std::string name;  // glibc, carrel, jemalloc, mimalloc, tcmalloc, tbbmalloc, scudo, ...
  std::filesystem::path library;  // what is preloaded; empty: nothing is, the program has glibc's
                                  // or the one that it brings along
  bool is_system() const { return library.empty(); }
};

// Every allocator found by itself, glibc and carrel first. Looks beside the executable, in ../lib
// from it, in LD_LIBRARY_PATH, the usual library directories and where compilers keep their
// runtimes; not in the dynamic linker's cache.
std::vector<Allocator> find_allocators();

// One allocator from what a user wrote: a name ("jemalloc", "glibc"), NAME=PATH, or a path (any
// word with a slash). Throws UserError that names what was found when there is none such, and when
// the file is no shared library for this machine.
Allocator parse_allocator(std::string_view word);

// The same for a list "a,b,c". Throws UserError on a name given twice.
std::vector<Allocator> parse_allocators(std::string_view list);

// Which file malloc comes from and what is known of it: build id, version.
LibraryInfo describe(const Allocator& allocator);

// The same for any library that serves malloc; name from the file's name.
LibraryInfo describe_library(const std::filesystem::path& path);
// The names that are looked for: installed or not.
std::vector<std::string> known_allocator_names();
std::string allocator_name_of(const std::filesystem::path& library);

// The environment for a program on `allocator`: this process's with LD_PRELOAD set to `in_front`
// (the hook, a check library), then the allocator, then what LD_PRELOAD already held.
std::vector<std::string> environment_for(const Allocator& allocator,
                                         const std::vector<std::filesystem::path>& in_front = {},
                                         const std::vector<std::string>& extra = {});

}  // namespace carrel::tools
