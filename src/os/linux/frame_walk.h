// Follows the frames of the calling thread's stack by their rules. x86-64 only.
//
// Reads the stack and nothing else, and nothing that was not found readable: a page counts as
// readable when the system says so, and from then on while the stack pointer of the same thread is
// in the same run of such pages; the last of them, where walks end, is asked for in each walk. So a
// rule that is wrong gives a wrong stack and not a fault, but where it leads through more than one
// page of memory beside the stack that was unmapped since.
#pragma once

#include "os/linux/frame_rule.h"

namespace carrel::core {

/// What a frame leaves to the one that called it.
struct FrameRegisters {
  std::uintptr_t return_address;
  std::uintptr_t stack_pointer;
  std::uintptr_t frame_register;
};

struct FrameWalk {
  std::size_t count;
  bool complete;  // else it ends where no rule leads on, and another unwinder may know more
};

/// Whether the system can be asked if memory is readable: not under emulators that look at the
/// arguments in another order, nor where a filter answers for the system. Else do not walk.
bool can_tell_readable();

/// Return addresses from the first frame's on, innermost first.
FrameWalk walk_frames(const FrameRegisters& first, const void** frames, std::size_t capacity);

}  // namespace carrel::core
