// Whether another allocator can be put in front of a program by preloading, told from its file
// alone.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

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
};

// Looks at the program that `command` starts. Throws UserError when there is no such program.
Preflight preflight(const std::vector<std::string>& command);

// Throws the UserError that `check` amounts to; does nothing for kNone. kOwnMalloc passes when
// `own_malloc_passes`: the preload is loaded then, and serves nothing.
void require_preloadable(const Preflight& check, bool own_malloc_passes = false);

}  // namespace carrel::tools
