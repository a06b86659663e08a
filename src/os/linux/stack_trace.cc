// The calling thread's stack, for heap profiles: by the unwinder that exceptions use, or else by
// frame pointers.
//
// Most programs and libraries come without frame pointers, but all have tables that tell how to
// unwind: libgcc's unwinder reads them without allocating. A program of C++ or Rust has it; for
// others it is loaded when a profile starts, never before. Where there is none, as in a static
// program in C, frame pointers are followed. Nothing guarantees that what looks like one is one:
// so the stack is read by a system call, which refuses what is not there instead of faulting.
#include <dlfcn.h>
#include <sys/uio.h>
#include <unwind.h>

#include "base/bits.h"
#include "base/compiler.h"
#include "os/linux/linux_os.h"
#include "os/linux/syscall.h"

// Under names of their own, so that they can be weak whatever the headers say: absent where nobody
// needs them, and in static programs, which have no loader.
extern "C" {
[[gnu::weak]] _Unwind_Reason_Code weak_backtrace(_Unwind_Trace_Fn,
                                                 void*) __asm__("_Unwind_Backtrace");
[[gnu::weak]] _Unwind_Ptr weak_get_ip(_Unwind_Context*) __asm__("_Unwind_GetIP");
[[gnu::weak]] void* weak_dlopen(const char*, int) __asm__("dlopen");
[[gnu::weak]] void* weak_dlsym(void*, const char*) __asm__("dlsym");
}

namespace carrel::core {
namespace {

using Backtrace = _Unwind_Reason_Code (*)(_Unwind_Trace_Fn, void*);
using GetIp = _Unwind_Ptr (*)(_Unwind_Context*);

// Written before `unwinder_ready` is set, then only read.
Backtrace backtrace_function = nullptr;
GetIp ip_function = nullptr;
std::atomic<bool> unwinder_ready{false};

struct Collected {
  const void** frames;
  std::size_t capacity;
  std::size_t count;
};

_Unwind_Reason_Code collect(_Unwind_Context* context, void* argument) {
  auto& collected = *static_cast<Collected*>(argument);
  const _Unwind_Ptr address = ip_function(context);
  if (address == 0 || collected.count == collected.capacity) return _URC_END_OF_STACK;
  collected.frames[collected.count++] = at_address<const void>(address);
  return _URC_NO_REASON;
}

/// Copies memory of this process that may not be there.
bool read_words(std::uintptr_t from, std::uintptr_t* to, std::size_t bytes, long process) {
  const iovec local = {.iov_base = to, .iov_len = bytes};
  const iovec remote = {.iov_base = at_address<void>(from), .iov_len = bytes};
  return raw_syscall(SYS_process_vm_readv, process, reinterpret_cast<long>(&local), 1,
                     reinterpret_cast<long>(&remote), 1, 0) == static_cast<long>(bytes);
}

std::size_t follow_frame_pointers(const void** frames, std::size_t capacity) {
  constexpr std::size_t kMostBetween = 1 * kMiB;  // of one frame
  const long process = raw_syscall(SYS_getpid);
  auto frame = address_of(__builtin_frame_address(0));
  std::size_t count = 0;
  while (count < capacity) {
    std::uintptr_t pair[2];  // the caller's frame pointer, the return address
    if (!read_words(frame, pair, sizeof pair, process) || pair[1] == 0) break;
    frames[count++] = at_address<const void>(pair[1]);
    // Outwards only: it ends, whatever is found.
    if (pair[0] <= frame || pair[0] - frame > kMostBetween || pair[0] % sizeof(void*) != 0) break;
    frame = pair[0];
  }
  return count;
}

}  // namespace

bool LinuxOs::load_unwinder() {
  if (unwinder_ready.load(std::memory_order_acquire)) return true;
  Backtrace found = &weak_backtrace;
  GetIp ip = &weak_get_ip;
  if (found == nullptr || ip == nullptr) {
    if (&weak_dlopen == nullptr || &weak_dlsym == nullptr) return false;
    void* library = weak_dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return false;
    found = reinterpret_cast<Backtrace>(weak_dlsym(library, "_Unwind_Backtrace"));
    ip = reinterpret_cast<GetIp>(weak_dlsym(library, "_Unwind_GetIP"));
    if (found == nullptr || ip == nullptr) return false;
  }
  backtrace_function = found;
  ip_function = ip;
  // What the unwinder prepares at its first call, which may allocate, is done now.
  const void* frames[4];
  Collected collected = {.frames = frames, .capacity = 4, .count = 0};
  found(collect, &collected);
  unwinder_ready.store(true, std::memory_order_release);  // pairs with the acquires
  return true;
}

CARREL_NOINLINE std::size_t LinuxOs::stack_trace(const void** frames, std::size_t capacity) {
  if (!unwinder_ready.load(std::memory_order_acquire)) {
    return follow_frame_pointers(frames, capacity);
  }
  Collected collected = {.frames = frames, .capacity = capacity, .count = 0};
  backtrace_function(collect, &collected);
  return collected.count;
}

}  // namespace carrel::core
