// The gauge: preloaded in front of an allocator, it tells how much of a program's CPU time is spent
// in there, in two independent ways: a CPU-time timer of each thread asks "inside or not?", and one
// call in about 32 is timed. It records nothing about blocks.
//
// Of some timed calls it writes down the stack: stacks.h.
//
// Inside covers what the kernel does on the allocator's behalf. A call costs two stores more.
#pragma once

#include <cstdint>

namespace carrel::tools::gauge {

struct Thread {
  std::uintptr_t inside;      // frame of the call that is in the allocator, 0 if none is; this
                              // thread's signal handler reads it
  std::uint8_t armed;         // has a timer, or tried
  std::uint32_t until_timed;  // calls until the next is timed
  std::uint32_t random;       // where the distances come from
  // Of stacks.cc:
  std::uint8_t walking;             // a stack is being written: signals and calls do not count
  std::uint32_t stacks_left;        // before the interval doubles
  std::uint64_t stack_interval_ns;  // between marks, 0 before the first timed call
  std::uint64_t until_stack_ns;     // to the next mark
};

extern constinit thread_local Thread self;

// Gives the calling thread its timer. Once per thread, before its first call counts.
void arm();

// The two ends of a timed call.
std::uint64_t clock_ns();
void timed(std::uint64_t started_ns, std::uint32_t stands_for, bool frees, std::int64_t sleeps);
std::uint32_t next_distance();
// How often the calling thread has gone to sleep; below 0 for a call that is not watched, as most
// are not: to ask the system takes longer than a call.
std::int64_t sleeps_before();

enum class Kind : bool { kAllocation, kFree };

// Around a call of the real allocator. Calls within calls (operator new that calls malloc) count
// once. An exception of operator new skips the destructor (this library has no C++ runtime to run
// it): a frame at or below the present one is such a call, long over.
class Inside {
 public:
  __attribute__((always_inline)) explicit Inside(Kind kind) : frees_(kind == Kind::kFree) {
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    outer_ = self.inside <= here;
    if (!outer_) return;
    if (self.armed == 0) [[unlikely]]
      arm();
    if (self.until_timed-- == 0) [[unlikely]] {
      stands_for_ = next_distance();
      sleeps_ = sleeps_before();
      started_ns_ = clock_ns();
    }
    self.inside = here;
    // The handler runs on this thread: only the compiler could reorder.
    asm volatile("" ::: "memory");
  }
  __attribute__((always_inline)) ~Inside() {
    if (!outer_) return;
    asm volatile("" ::: "memory");
    self.inside = 0;
    if (stands_for_ != 0) [[unlikely]]
      timed(started_ns_, stands_for_, frees_, sleeps_);
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  bool outer_;
  bool frees_;
  std::uint32_t stands_for_ = 0;
  std::uint64_t started_ns_ = 0;
  std::int64_t sleeps_ = -1;
};

}  // namespace carrel::tools::gauge
