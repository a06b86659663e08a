// The calling thread's stack, for heap profiles.
//
// Most programs and libraries come without frame pointers, but all have tables that tell how to
// unwind. On x86-64 carrel follows them by itself and remembers what they say (frame_walk.h). What
// it cannot follow, signals' frames and code made at run time, it leaves to the unwinder that
// exceptions use, for the whole stack: libgcc's, which reads the tables without allocating. So it
// is for all stacks on other processors. A program in C++ or Rust has that; for others glibc's
// backtrace() loads it at its first call, which is when a profile starts, never before. With musl,
// a program in C has none: there such stacks end, or, where a static one was linked without an
// index of its tables, there are none. Frame pointers are not followed: what looks like one in code
// without them leads anywhere.
#include <pthread.h>
#include <unwind.h>

#include "base/bits.h"
#include "base/compiler.h"
#include "os/linux/frame_rules.h"
#include "os/linux/frame_walk.h"
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

/// What there is beside carrel's own.
enum class Unwinder : std::uint8_t { kNone, kProgram, kGlibc };

std::atomic<Unwinder> unwinder{Unwinder::kNone};
std::atomic<bool> follows_rules{false};

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

/// Whether the program has tables that can be followed: a static one may come without their index.
bool has_rules(const void* own_code) {
#if defined(__x86_64__)
  if (!can_tell_readable()) return false;
  bool emptied = false;
  const FrameRule rule = learn_frame_rule(address_of(own_code), emptied);
  return rule.kind() != FrameRule::Kind::kNone && rule.kind() < FrameRule::Kind::kOutermost;
#else
  static_cast<void>(own_code);
  return false;
#endif
}

bool others_at_fork = false;  // written and read by the thread that forks

/// In the child of a process with several threads all stacks are libgcc's: see never_ask_loader().
void prepare_for_forks() {
  static std::atomic<bool> watched{false};
  if (watched.exchange(true, std::memory_order_relaxed)) return;
  pthread_atfork(
      [] {
        const char* alone = LinuxOs::alone_flag();
        others_at_fork = alone == nullptr || *alone == 0;
      },
      nullptr,
      [] {
        if (!others_at_fork) return;
        never_ask_loader();
        follows_rules.store(false, std::memory_order_relaxed);
      });
}

}  // namespace

CARREL_NOINLINE bool LinuxOs::load_unwinder() {
  const void* frames[4];
  Collected collected = {.frames = frames, .capacity = 4, .count = 0};
  Unwinder found = Unwinder::kNone;
  // What they prepare at their first call, which may allocate, is done now.
  if (&weak_unwind != nullptr && &weak_get_ip != nullptr) {
    weak_unwind(collect, &collected);
    found = Unwinder::kProgram;
  } else if (&weak_backtrace != nullptr && weak_backtrace(const_cast<void**>(frames), 4) != 0) {
    found = Unwinder::kGlibc;
  }
  const bool follows = has_rules(__builtin_return_address(0));
  if (follows) prepare_for_forks();
  follows_rules.store(follows, std::memory_order_relaxed);
  if (found == Unwinder::kNone && !follows_rules.load(std::memory_order_relaxed)) return false;
  unwinder.store(found, std::memory_order_relaxed);
  return true;
}

CARREL_NOINLINE std::size_t LinuxOs::stack_trace(const void** frames, std::size_t capacity) {
  std::size_t followed = 0;
  if (CARREL_LIKELY(follows_rules.load(std::memory_order_relaxed))) {
    // This function's frame, which by that has a frame register: the caller's, then where it is
    // returned to.
    const auto* frame = static_cast<const std::uintptr_t*>(__builtin_frame_address(0));
    const FrameRegisters caller = {.return_address = frame[1],
                                   .stack_pointer = address_of(frame + 2),
                                   .frame_register = frame[0]};
    const FrameWalk walk = walk_frames(caller, frames, capacity);
    if (CARREL_LIKELY(walk.complete)) return walk.count;
    followed = walk.count;
  }
  switch (unwinder.load(std::memory_order_relaxed)) {
    case Unwinder::kProgram: {
      Collected collected = {.frames = frames, .capacity = capacity, .count = 0};
      weak_unwind(collect, &collected);
      return collected.count;
    }
    case Unwinder::kGlibc: {
      const int count = weak_backtrace(const_cast<void**>(frames), static_cast<int>(capacity));
      return static_cast<std::size_t>(count);
    }
    default:
      return followed;
  }
}

}  // namespace carrel::core
