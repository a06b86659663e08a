// What an ELF file says about itself, as far as it decides which allocator a program runs on. Reads
// one file; follows no dependency.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace carrel::tools {

struct ElfFile {
  bool is_elf = false;        // else everything below is empty; it may be a script
  bool same_machine = false;  // runs here: class and machine are this program's
  bool is_library = false;    // a shared object without an interpreter
  std::string interpreter;    // of a dynamically linked executable; empty: static
  std::string soname;
  std::vector<std::string> needed;
  std::string build_id;               // hex
  std::vector<std::string> exported;  // which of the malloc family and operator new it defines for
                                      // others (dynamic, default visibility)
  std::vector<std::string> allocators_inside;  // names of allocators whose symbols are in it
  std::uint32_t hook_version = 0;    // of the recording hook that is linked in; 0: none is
  bool has_own_libc_malloc = false;  // the C library's malloc is in it, as the symbols tell
  bool exports(const char* name) const;
};

// Throws UserError when the file cannot be opened.
ElfFile read_elf(const std::filesystem::path& path);

// Build id of a file, empty when it has none or cannot be read.
std::string build_id_of(const std::filesystem::path& path);

}  // namespace carrel::tools
