// Judging a program by its file.
#include "launch/preflight.h"

#include <fmt/ranges.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "base/error.h"
#include "hook/channel.h"
#include "launch/paths.h"

namespace carrel::tools {

namespace fs = std::filesystem;

namespace {

// The interpreter that a script's first line names; empty when it is no script.
fs::path script_interpreter(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string line;
  if (!std::getline(file, line) || !line.starts_with("#!")) return {};
  std::istringstream words(line.substr(2));
  std::string word;
  words >> word;
  if (fs::path(word).filename() != "env") return word;
  // "#! /usr/bin/env -S prog": the program is the first word that is neither option nor setting.
  while (words >> word) {
    if (!word.starts_with('-') && word.find('=') == std::string::npos) return find_program(word);
  }
  return {};
}

bool gains_rights(const fs::path& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) return false;
  const bool other_user = (status.st_mode & S_ISUID) != 0 && status.st_uid != getuid();
  const bool other_group = (status.st_mode & S_ISGID) != 0 && status.st_gid != getgid();
  const bool capable =
      getuid() != 0 && getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
  return other_user || other_group || capable;
}

void judge(Preflight& check) {
  const auto set = [&check](Obstacle obstacle, std::string why, std::string advice) {
    check.obstacle = obstacle;
    check.why = std::move(why);
    check.advice = std::move(advice);
  };
  const ElfFile& elf = check.elf;
  if (!elf.is_elf) {
    set(Obstacle::kNotElf, "it is neither an ELF executable nor a script with a #! line",
        "start it through its interpreter: carrel ... -- sh FILE");
  } else if (!elf.same_machine) {
    set(Obstacle::kOtherMachine, "it is built for another kind of machine",
        "use the program built for this one");
  } else if (elf.interpreter.empty() && !elf.is_library) {
    std::string inside;
    if (!elf.allocators_inside.empty()) {
      inside = fmt::format(" (with {} inside)", fmt::join(elf.allocators_inside, ", "));
    }
    set(Obstacle::kStatic,
        "it is linked statically" + inside + ", so that nothing can be preloaded",
        "link it dynamically, or link the allocator into it");
  } else if (elf.interpreter.find("ld-musl") != std::string::npos) {
    set(Obstacle::kMusl, "it runs on musl, whose linker cannot load libraries made for glibc",
        "link the allocator into it, or use its glibc build");
  } else if (gains_rights(check.loaded)) {
    set(Obstacle::kSetId, "it is setuid, setgid or has capabilities, so that LD_PRELOAD is ignored",
        "run it as the user it switches to, or run a copy without those rights");
  } else if (elf.exports("malloc")) {
    std::string inside;
    if (!elf.allocators_inside.empty()) {
      inside = fmt::format(" ({})", fmt::join(elf.allocators_inside, ", "));
    }
    set(Obstacle::kOwnMalloc,
        "the executable exports malloc itself" + inside + ", which comes before any preload",
        "rebuild it without its allocator, or hide those symbols in a copy of the file");
  }
}

}  // namespace

Preflight preflight(const std::vector<std::string>& command) {
  Preflight check;
  check.program = find_program(command.at(0));
  check.loaded = check.program;
  for (int depth = 0; depth < 4; ++depth) {
    const fs::path interpreter = script_interpreter(check.loaded);
    if (interpreter.empty()) break;
    check.loaded = interpreter;
  }
  std::error_code error;
  if (!fs::exists(check.loaded, error)) {
    throw UserError("{} wants {}, which is not there; install it", check.program.string(),
                    check.loaded.string());
  }
  check.elf = read_elf(check.loaded);
  check.carries_hook = check.elf.hook_version == channel::kVersion;
  judge(check);
  return check;
}

void require_preloadable(const Preflight& check, bool own_malloc_passes) {
  if (check.obstacle == Obstacle::kNone) return;
  if (check.obstacle == Obstacle::kOwnMalloc && own_malloc_passes) return;
  throw UserError("no other allocator can serve {}: {}; {}", check.loaded.string(), check.why,
                  check.advice);
}

bool hook_helps(const Preflight& check) {
  return check.obstacle == Obstacle::kStatic || check.obstacle == Obstacle::kMusl ||
         check.obstacle == Obstacle::kOwnMalloc;
}

void require_recordable(const Preflight& check, const Allocator& allocator) {
  const std::string program = check.loaded.string();
  if (check.elf.hook_version != 0 && !check.carries_hook) {
    throw UserError(
        "{} carries the recording hook in version {}, this carrel speaks {}; link it "
        "anew with the libcarrel-hook.a beside this command",
        program, check.elf.hook_version, channel::kVersion);
  }
  if (check.obstacle == Obstacle::kNone) return;
  if (check.carries_hook && hook_helps(check)) {
    if (allocator.is_system()) return;
    throw UserError("{} can be recorded only on the allocator that it has: {}; leave --alloc out",
                    program, check.why);
  }
  if (!hook_helps(check)) require_preloadable(check);
  throw UserError("{} cannot be recorded: {}; {}, or {}", program, check.why, kHookAdvice,
                  check.advice);
}

}  // namespace carrel::tools
