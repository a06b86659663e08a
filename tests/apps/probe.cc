// Reports where a process's allocation functions resolve: the proof that a preloaded allocator is
// in use. Preloaded in front of the allocator, it appends one line to the file that
// CARREL_PROBE_OUT names for every process that starts:
//   pid <TAB> executable <TAB> malloc=PATH <TAB> free=PATH <TAB> ... <TAB> delete=PATH
// PATH is the object that holds the function, "self" for the program's own executable, "-" if there
// is none. It exports nothing, allocates nothing of its own, and says nothing about a process that
// ignored LD_PRELOAD (a static or setuid program): the harness takes a missing line for a failure.
// Compiled by harness.py with the C driver, so that no libstdc++ comes into the program with it.

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

namespace {

struct Entry {
  const char* label;
  const char* symbol;
};

constexpr Entry kEntries[] = {
    {"malloc", "malloc"},   {"free", "free"}, {"calloc", "calloc"},
    {"realloc", "realloc"}, {"new", "_Znwm"}, {"delete", "_ZdlPv"},
};

// Where `symbol` is defined, as the program's own calls find it. A program linked at a fixed
// address may hold an entry of its procedure linkage table under the name malloc: its symbol is
// undefined but has an address, which dlsym returns. The real definition is then the next one in
// the order.
const char* where(const char* symbol, const void* program_base) {
  void* address = dlsym(RTLD_DEFAULT, symbol);
  if (address == nullptr) {
    return "-";
  }
  Dl_info info;
  const ElfW(Sym)* found = nullptr;
  if (dladdr1(address, &info, reinterpret_cast<void**>(const_cast<ElfW(Sym)**>(&found)),
              RTLD_DL_SYMENT) == 0) {
    return "?";
  }
  if (found != nullptr && found->st_shndx == SHN_UNDEF) {
    address = dlsym(RTLD_NEXT, symbol);
    if (address == nullptr || dladdr(address, &info) == 0) {
      return "?";
    }
  }
  return info.dli_fbase == program_base ? "self" : info.dli_fname;
}

__attribute__((constructor)) void report() {
  const char* out = getenv("CARREL_PROBE_OUT");
  if (out == nullptr) {
    return;
  }
  Dl_info program;
  const auto* headers = reinterpret_cast<const void*>(getauxval(AT_PHDR));
  const void* program_base = dladdr(headers, &program) != 0 ? program.dli_fbase : nullptr;

  char executable[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", executable, sizeof executable - 1);
  executable[length > 0 ? length : 0] = '\0';

  char line[8192];
  int used = snprintf(line, sizeof line, "%d\t%s", static_cast<int>(getpid()), executable);
  for (const Entry& entry : kEntries) {
    if (used < 0 || static_cast<size_t>(used) >= sizeof line) {
      return;
    }
    used += snprintf(line + used, sizeof line - static_cast<size_t>(used), "\t%s=%s", entry.label,
                     where(entry.symbol, program_base));
  }
  if (used < 0 || static_cast<size_t>(used) + 1 >= sizeof line) {
    return;
  }
  line[used++] = '\n';
  const int file = open(out, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file < 0) {
    return;
  }
  ssize_t written = write(file, line, static_cast<size_t>(used));
  static_cast<void>(written);
  close(file);
}

}  // namespace
