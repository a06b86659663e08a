// Which file a function lies in, in static programs too.
#include "hook/linked/own_file.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

// Weak, so that a static program has them only if it needs them anyway.
extern "C" {
__attribute__((weak)) int dladdr(const void* address, Dl_info* info) noexcept;
__attribute__((weak)) void* dlsym(void* handle, const char* name) noexcept;
}

namespace carrel::tools::hook {

namespace {

// The preloaded hook stands in front of malloc and has nothing to do here: what is behind it.
void* behind_preloaded(void* function) {
  if (dlsym == nullptr || function == nullptr) return function;
  void* const next = dlsym(RTLD_DEFAULT, "carrel_hook_next_malloc");
  return next == nullptr ? function : reinterpret_cast<void* (*)()>(next)();
}

}  // namespace

void name_file_of(channel::Process& process, void* function) {
  Dl_info own;
  Dl_info found;
  function = behind_preloaded(function);
  if (dladdr != nullptr && function != nullptr && dladdr(function, &found) != 0 &&
      found.dli_fname != nullptr && dladdr(reinterpret_cast<void*>(&name_file_of), &own) != 0 &&
      own.dli_fbase != found.dli_fbase) {
    strncpy(process.allocator, found.dli_fname, sizeof(process.allocator) - 1);
    return;
  }
  process.linked_in = 1;
  const ssize_t length =
      readlink("/proc/self/exe", process.allocator, sizeof(process.allocator) - 1);
  process.allocator[length > 0 ? length : 0] = 0;
}

}  // namespace carrel::tools::hook
