// carrel_sys: what the Rust crates need of the core beyond its C API. It is the end of the one
// translation unit that carrel-sys' build script writes; carrel's own libraries don't have it.
#include "api/instance.h"

#ifdef CARREL_SYS_PIN_LIBRARY
#include <dlfcn.h>
#endif

namespace {

#ifdef CARREL_SYS_PIN_LIBRARY
/// The library that this is linked into must stay mapped when it is closed: thread-exit keys, fork
/// handlers and the helper thread point into it. Opening it once more with RTLD_NODELETE says so.
[[gnu::constructor]] void pin_library() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&pin_library), &info) == 0) return;
  dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}
#endif

}  // namespace

/// 1 if `block` lies in memory that this copy of carrel has cut into blocks, else 0: anywhere in a
/// slab, or in the first 64 KiB of a large block; further inside one it is 0. Any address will
/// do, null and foreign ones included: nothing behind it is read.
extern "C" int carrel_sys_owns(const void* block) {
  if (!carrel::core::process_heap.ready()) return 0;
  return carrel::core::process_heap.map().class_of(block) != carrel::core::kNotOurs ? 1 : 0;
}
