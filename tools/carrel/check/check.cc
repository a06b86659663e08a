// libcarrel-check: preloaded into one process to say, from the inside, which file its malloc and
// operator new come from. What it does is told by the environment, in CARREL_CHECK:
//
//   PID:run:PATH    in process PID: if malloc doesn't come from PATH, say so and exit with 125; and
//                   the same in the programs that it becomes by exec
//   PID:report:FD   in process PID: write "name=path" lines to the descriptor and exit with 0,
//                   before the program's first line
//
// In other processes it does nothing, but takes itself out of LD_PRELOAD for those to come. It
// allocates nothing.
#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <initializer_list>

namespace {

void say(int fd, const char* text) {
  const ssize_t ignored = write(fd, text, strlen(text));
  static_cast<void>(ignored);
}

const char* file_of(const char* symbol) {
  void* address = dlsym(RTLD_DEFAULT, symbol);
  Dl_info info;
  void* entry = nullptr;
  if (address == nullptr || dladdr1(address, &info, &entry, RTLD_DL_SYMENT) == 0) return nullptr;
  // An executable at a fixed address that takes a function's address has a stub for it, and the
  // stub's address is the function's for all of the process. The function itself is behind it: the
  // search that begins after this library, the first preloaded one, leaves the executable out.
  const ElfW(Sym)* const found = static_cast<const ElfW(Sym)*>(entry);
  if (found != nullptr && found->st_shndx == SHN_UNDEF) {
    address = dlsym(RTLD_NEXT, symbol);
    if (address == nullptr || dladdr(address, &info) == 0) return nullptr;
  }
  return info.dli_fname;
}

// LD_PRELOAD starts with this library's path: what follows moves to the front, in place.
void leave_preload() {
  char* const preload = getenv("LD_PRELOAD");
  Dl_info info;
  if (preload == nullptr || dladdr(reinterpret_cast<void*>(&file_of), &info) == 0) return;
  const size_t length = strlen(info.dli_fname);
  if (strncmp(preload, info.dli_fname, length) != 0) return;
  char* rest = preload + length;
  if (*rest == ':') ++rest;
  memmove(preload, rest, strlen(rest) + 1);
}

[[noreturn]] void report(int fd) {
  for (const char* symbol : {"malloc", "free", "calloc", "realloc", "posix_memalign", "_Znwm",
                             "_ZdlPv", "carrel_version"}) {
    const char* const file = file_of(symbol);
    if (file == nullptr) continue;
    say(fd, symbol);
    say(fd, "=");
    say(fd, file);
    say(fd, "\n");
  }
  _exit(0);
}

void require(const char* wanted) {
  const char* const found = file_of("malloc");
  if (found != nullptr && strcmp(found, wanted) == 0) return;
  char real[4096];
  if (found != nullptr && realpath(found, real) != nullptr && strcmp(real, wanted) == 0) return;
  say(2, "carrel: ");
  say(2, wanted);
  say(2, " is loaded, yet malloc comes from ");
  say(2, found != nullptr ? found : "nowhere");
  // Not the program that was started, perhaps, but the one that it became.
  const ssize_t length = readlink("/proc/self/exe", real, sizeof(real) - 1);
  real[length > 0 ? length : 0] = 0;
  say(2, "; carrel doctor --alloc ");
  say(2, wanted);
  say(2, " -- ");
  say(2, real);
  say(2, " says why\n");
  _exit(125);
}

__attribute__((constructor(101))) void check() {
  const char* text = getenv("CARREL_CHECK");
  if (text == nullptr) return;
  char* end = nullptr;
  if (strtol(text, &end, 10) != getpid() || *end != ':') {
    leave_preload();
    return;
  }
  const char* const mode = end + 1;
  const char* const rest = strchr(mode, ':');
  if (rest == nullptr) return;
  if (strncmp(mode, "report:", 7) == 0) report(static_cast<int>(strtol(rest + 1, nullptr, 10)));
  if (strncmp(mode, "run:", 4) == 0) require(rest + 1);
}

}  // namespace
