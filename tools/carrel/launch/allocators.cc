// Finding allocators, and the environment that puts one into a program.
#include "launch/allocators.h"

#include <dlfcn.h>
#include <fmt/ranges.h>
#include <glob.h>
#include <gnu/libc-version.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <system_error>

#include "base/error.h"
#include "launch/elf_file.h"
#include "launch/paths.h"

extern char** environ;

namespace carrel::tools {

namespace fs = std::filesystem;

namespace {

struct Known {
  const char* name;
  std::vector<const char*> files;  // in order of preference, with wildcards
};

// Names as distributions install them; a file's first match wins.
const std::vector<Known>& known_allocators() {
  static const std::vector<Known> known = {
      {"carrel", {"libcarrel.so", "libcarrel.so.0"}},
      {"jemalloc", {"libjemalloc.so.2", "libjemalloc.so"}},
      {"mimalloc", {"libmimalloc.so.3", "libmimalloc.so.2", "libmimalloc.so"}},
      {"snmalloc", {"libsnmallocshim.so", "libsnmalloc.so"}},
      {"rpmalloc", {"librpmallocwrap.so", "librpmalloc.so"}},
      {"tcmalloc", {"libtcmalloc_minimal.so.4", "libtcmalloc.so.4", "libtcmalloc_minimal.so"}},
      {"tbbmalloc", {"libtbbmalloc_proxy.so.2", "libtbbmalloc_proxy.so"}},
      {"scudo", {"libclang_rt.scudo_standalone-" CARREL_LLVM_ARCH ".so", "libscudo.so"}}};
  return known;
}

// Directories of ours: beside the program, and where an installation or a build puts libraries.
std::vector<fs::path> own_directories() {
  const fs::path here = own_directory();
  return {here, here / "../lib", here / "../lib" / CARREL_LIBRARY_ARCH};
}

std::vector<fs::path> system_directories() {
  std::vector<fs::path> directories;
  if (const char* path = std::getenv("LD_LIBRARY_PATH")) {
    for (std::string_view rest(path); !rest.empty();) {
      const std::size_t colon = rest.find(':');
      if (colon != 0) directories.emplace_back(rest.substr(0, colon));
      rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon + 1);
    }
  }
  for (const char* path :
       {"/usr/local/lib/" CARREL_LIBRARY_ARCH, "/usr/local/lib", "/usr/lib/" CARREL_LIBRARY_ARCH,
        "/lib/" CARREL_LIBRARY_ARCH, "/usr/lib64", "/usr/lib", "/lib64"}) {
    directories.emplace_back(path);
  }
  // Compilers keep their runtimes apart.
  glob_t found = {};
  for (const char* pattern :
       {"/usr/lib/llvm-*/lib/clang/*/lib/linux", "/usr/lib/clang/*/lib/linux"}) {
    if (glob(pattern, 0, nullptr, &found) == 0) {
      for (std::size_t i = found.gl_pathc; i > 0; --i) {
        directories.emplace_back(found.gl_pathv[i - 1]);
      }
    }
    globfree(&found);
    found = {};
  }
  return directories;
}

std::optional<fs::path> find_file(const Known& known) {
  std::vector<fs::path> directories = own_directories();
  const std::vector<fs::path> system = system_directories();
  directories.insert(directories.end(), system.begin(), system.end());
  for (const char* file : known.files) {
    for (const fs::path& directory : directories) {
      std::error_code error;
      const fs::path candidate = directory / file;
      if (fs::exists(candidate, error)) return fs::weakly_canonical(directory, error) / file;
    }
  }
  return std::nullopt;
}

std::string names_of(const std::vector<Allocator>& allocators) {
  std::vector<std::string> names;
  for (const Allocator& allocator : allocators) names.push_back(allocator.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

void check_library(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) {
    throw UserError("there is no {}; give the path of the allocator's shared library",
                    path.string());
  }
  const ElfFile elf = read_elf(path);
  if (!elf.is_elf || !elf.is_library) {
    throw UserError("{} is no shared library; give the allocator's .so file", path.string());
  }
  if (!elf.same_machine) {
    throw UserError("{} is built for another kind of machine; install the one for this",
                    path.string());
  }
  // LD_PRELOAD is split at blanks and colons.
  if (path.string().find_first_of(": ") != std::string::npos) {
    throw UserError(
        "{}: a preloaded library's path may hold neither blanks nor colons; link it "
        "under another name",
        path.string());
  }
}

}  // namespace

std::string allocator_name_of(const fs::path& library) {
  const std::string file = library.filename().string();
  for (const Known& known : known_allocators()) {
    if (file.find(known.name) != std::string::npos) return known.name;
  }
  if (file.starts_with("libc.so") || file.starts_with("libc-")) return "glibc";
  if (file.starts_with("ld-musl")) return "musl";
  return file;
}

std::vector<std::string> known_allocator_names() {
  std::vector<std::string> names = {"glibc"};
  for (const Known& known : known_allocators()) names.emplace_back(known.name);
  return names;
}

std::vector<Allocator> find_allocators() {
  std::vector<Allocator> found = {{"glibc", {}}};
  for (const Known& known : known_allocators()) {
    if (const auto file = find_file(known)) found.push_back({known.name, *file});
  }
  return found;
}

Allocator parse_allocator(std::string_view word) {
  const std::size_t equals = word.find('=');
  std::string name(word.substr(0, equals == std::string_view::npos ? word.size() : equals));
  const std::string_view rest =
      equals == std::string_view::npos ? std::string_view{} : word.substr(equals + 1);
  if (equals != std::string_view::npos || word.find('/') != std::string_view::npos) {
    const fs::path path = fs::absolute(equals != std::string_view::npos ? rest : word);
    check_library(path);
    if (equals == std::string_view::npos) name = allocator_name_of(path);
    if (name.empty()) throw UserError("'{}' has no name; write NAME=PATH", word);
    return {name, path};
  }
  if (name == "system" || name == "libc") name = "glibc";
  const std::vector<Allocator> found = find_allocators();
  for (const Allocator& allocator : found) {
    if (allocator.name == name) return allocator;
  }
  throw UserError("no allocator '{}' on this machine; found: {}; or give NAME=PATH", name,
                  names_of(found));
}

std::vector<Allocator> parse_allocators(std::string_view list) {
  std::vector<Allocator> allocators;
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    const std::string_view word = list.substr(0, comma);
    list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
    if (word.empty()) continue;
    Allocator allocator = parse_allocator(word);
    for (const Allocator& other : allocators) {
      if (other.name == allocator.name) {
        throw UserError(
            "allocator '{}' is named twice; give one of them another name with "
            "NAME=PATH",
            allocator.name);
      }
    }
    allocators.push_back(std::move(allocator));
  }
  if (allocators.empty()) {
    throw UserError("no allocator named; found: {}", names_of(find_allocators()));
  }
  return allocators;
}

LibraryInfo describe_library(const fs::path& path) {
  std::error_code error;
  LibraryInfo info;
  const fs::path real = fs::canonical(path, error);
  info.path = error ? path.string() : real.string();
  info.name = allocator_name_of(path);
  info.build_id = build_id_of(path);
  if (info.name == "glibc") {
    info.version = gnu_get_libc_version();
  } else {
    const std::string file = fs::path(info.path).filename().string();
    const std::size_t so = file.find(".so.");
    if (so != std::string::npos) info.version = file.substr(so + 4);
  }
  return info;
}

LibraryInfo describe(const Allocator& allocator) {
  if (!allocator.is_system()) {
    LibraryInfo info = describe_library(allocator.library);
    info.name = allocator.name;
    return info;
  }
  // Nothing is preloaded and yet it is another: the program brings it along.
  if (allocator.name != "glibc") return {allocator.name, {}, {}, {}};
  // The system's is in the libc that this program runs on as well.
  Dl_info where;
  if (dladdr(reinterpret_cast<void*>(&gnu_get_libc_version), &where) != 0) {
    return describe_library(where.dli_fname);
  }
  return {"glibc", {}, {}, gnu_get_libc_version()};
}

std::vector<std::string> environment_for(const Allocator& allocator,
                                         const std::vector<fs::path>& in_front,
                                         const std::vector<std::string>& extra) {
  std::vector<std::string> preload;
  for (const fs::path& path : in_front) preload.push_back(path.string());
  if (!allocator.is_system()) preload.push_back(allocator.library.string());
  std::vector<std::string> environment;
  const auto replaced = [&extra](std::string_view entry) {
    const std::string_view name = entry.substr(0, entry.find('='));
    return std::any_of(extra.begin(), extra.end(), [name](const std::string& other) {
      return std::string_view(other).substr(0, other.find('=')) == name;
    });
  };
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (text.starts_with("LD_PRELOAD=")) {
      if (text.size() > 11) preload.emplace_back(text.substr(11));
    } else if (!replaced(text)) {
      environment.emplace_back(text);
    }
  }
  if (!preload.empty()) {
    environment.push_back(fmt::format("LD_PRELOAD={}", fmt::join(preload, ":")));
  }
  environment.insert(environment.end(), extra.begin(), extra.end());
  return environment;
}

}  // namespace carrel::tools
