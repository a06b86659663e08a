// Whether another allocator can be put in front of a program by preloading, told from its file
// alone.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launch/allocators.h"
#include "launch/elf_file.h"

namespace carrel::tools {

enum class Obstacle {
  kNone,
  kStatic,  // no dynamic linker runs
  kOtherMachine,
  kNotElf,     // and no script either
  kSetId,      // setuid, setgid or file capabilities: the dynamic linker ignores LD_PRELOAD
  kMusl,       // another C library: its linker cannot load libraries made for glibc
  kOwnMalloc,  // the executable exports malloc itself and comes first
};

struct Preflight {
  Obstacle obstacle = Obstacle::kNone;
  std::string why;                // one clause: "it is linked statically"
  std::string advice;             // one clause: what to do next
  std::filesystem::path program;  // as found in PATH
  std::filesystem::path loaded;   // what the kernel loads: for a script its interpreter
  ElfFile elf;                    // of `loaded`
  bool carries_hook = false;      // the recording hook is linked in, and speaks with this carrel
};

// Looks at the program that `command` starts. Throws UserError when there is no such program.
Preflight preflight(const std::vector<std::string>& command);

// Throws the UserError that `check` amounts to; does nothing for kNone. kOwnMalloc passes when
// `own_malloc_passes`: the preload is loaded then, and serves nothing.
void require_preloadable(const Preflight& check, bool own_malloc_passes = false);

// Whether linking the recording hook into the program is a way around its obstacle, and how to.
bool hook_helps(const Preflight& check);
inline constexpr const char* kHookAdvice =
    "link carrel's recording hook into it (pkg-config --libs carrel-hook or carrel-hook-c++; in "
    "Rust the crate carrel-hook)";

// The same for recording on `allocator`: a program that nothing can be preloaded into passes when
// the recording hook is linked into it and no other allocator is asked for.
void require_recordable(const Preflight& check, const Allocator& allocator);

}  // namespace carrel::tools
