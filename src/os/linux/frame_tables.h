// Reads the rule for a return address from the tables that compilers write for exceptions:
// .eh_frame, found through the sorted index in .eh_frame_hdr.
//
// Never reads outside of the segment that it is given, whatever the tables say, and ends: what it
// cannot make sense of is FrameRule::Kind::kOther. Allocates nothing and keeps nothing.
#pragma once

#include "os/linux/frame_rule.h"

namespace carrel::core {

/// Of one object: its index, and the readable segment that holds it and the tables.
struct FrameTables {
  std::uintptr_t index;
  std::uintptr_t segment_start;
  std::uintptr_t segment_end;
};

/// kOutermost if the code before this return address is not in the index.
FrameRule read_frame_rule(const FrameTables& tables, std::uintptr_t return_address);

}  // namespace carrel::core
