// Who called the allocator when time was spent in it. Timed calls add up; each time the sum of a
// thread passes a mark, the stack of the call that made it pass is written to the log (call_log.h),
// with the time between marks. So a stack stands for time, however many calls that were. Marks lie
// close at first, for programs that are soon over, and farther apart later.
#pragma once

#include <cstdint>

#include "advise/gauge/call_log.h"

namespace carrel::tools::gauge {

// Once per process; `log` may be null: then nothing is written.
void start_stacks(CallLog* log);
void start_stacks_in_child();

// A timed call of this thread stands for so much time in the allocator. Returns how long writing a
// stack took, by the clock; 0 if none was due. Must not be interrupted by its own calls: see
// Thread::walking.
std::uint64_t charge(std::uint64_t ns);

}  // namespace carrel::tools::gauge
