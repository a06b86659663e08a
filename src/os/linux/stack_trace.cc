// The calling thread's stack, for heap profiles, by the unwinder that exceptions use.
//
// Most programs and libraries come without frame pointers, but all have tables that tell how to
// unwind: libgcc's unwinder reads them without allocating. A program in C++ or Rust has it; for
// others glibc's backtrace() loads it at its first call, which is when a profile starts, never
// before. With musl, a program in C has none. Frame pointers are not followed: what looks like one
// in code without them leads anywhere.
#include <unwind.h>

#include "base/bits.h"
#include "base/compiler.h"
#include "os/linux/linux_os.h"

// Under names of their own, so that they can be weak whatever the headers say: absent where neither
// the program nor its C library has them.
extern "C" {
[[gnu::weak]] _Unwind_Reason_Code weak_unwind(_Unwind_Trace_Fn, void*) __asm__("_Unwind_Backtrace");
[[gnu::weak]] _Unwind_Ptr weak_get_ip(_Unwind_Context*) __asm__("_Unwind_GetIP");
[[gnu::weak]] int weak_backtrace(void**, int) __asm__("backtrace");
}

namespace carrel::core {
namespace {

enum class Unwinder : std::uint8_t { kNone, kOwn, kGlibc };

std::atomic<Unwinder> unwinder{Unwinder::kNone};

struct Collected {
  const void** frames;
  std::size_t capacity;
  std::size_t count;
};

_Unwind_Reason_Code collect(_Unwind_Context* context, void* argument) {
  auto& collected = *static_cast<Collected*>(argument);
  const _Unwind_Ptr address = weak_get_ip(context);
  if (address == 0 || collected.count == collected.capacity) return _URC_END_OF_STACK;
  collected.frames[collected.count++] = at_address<const void>(address);
  return _URC_NO_REASON;
}

}  // namespace

bool LinuxOs::load_unwinder() {
  const void* frames[4];
  Collected collected = {.frames = frames, .capacity = 4, .count = 0};
  // What they prepare at their first call, which may allocate, is done now.
  if (&weak_unwind != nullptr && &weak_get_ip != nullptr) {
    weak_unwind(collect, &collected);
    unwinder.store(Unwinder::kOwn, std::memory_order_relaxed);
    return true;
  }
  if (&weak_backtrace == nullptr || weak_backtrace(const_cast<void**>(frames), 4) == 0)
    return false;
  unwinder.store(Unwinder::kGlibc, std::memory_order_relaxed);
  return true;
}

CARREL_NOINLINE std::size_t LinuxOs::stack_trace(const void** frames, std::size_t capacity) {
  switch (unwinder.load(std::memory_order_relaxed)) {
    case Unwinder::kNone:
      break;
    case Unwinder::kOwn: {
      Collected collected = {.frames = frames, .capacity = capacity, .count = 0};
      weak_unwind(collect, &collected);
      return collected.count;
    }
    case Unwinder::kGlibc: {
      const int count = weak_backtrace(const_cast<void**>(frames), static_cast<int>(capacity));
      return static_cast<std::size_t>(count);
    }
  }
  return 0;
}

}  // namespace carrel::core
