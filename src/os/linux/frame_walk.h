// Follows the frames of the calling thread's stack by their rules. x86-64 only.
//
// Reads the stack and nothing else, and nothing that was not found readable: a page counts as
// readable when the system says so, and from then on while the stack pointer of the same thread is
// in the same run of such pages. So a rule that is wrong gives a wrong stack, not a fault.
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

/// Return addresses from the first frame's on, innermost first.
FrameWalk walk_frames(const FrameRegisters& first, const void** frames, std::size_t capacity);

}  // namespace carrel::core
