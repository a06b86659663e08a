// Pictures of a recorded process's heap: when one is taken, and how the trace's events up to it are
// told from those after it. While one is taken, the program's threads wait at their next call of
// the allocator; a call that is under way goes on to its end, so that at most its block is in the
// picture and not in the trace, or the other way round.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <exception>

#include "base/error.h"
#include "record/session.h"

namespace carrel::tools {

namespace {

// Another picture when memory has grown by a tenth, and no more than a tenth of the time for them.
constexpr std::uint64_t kLeastGrowth = std::uint64_t{256} << 10;
constexpr std::uint64_t kGrowthOf = 10;
constexpr std::uint64_t kShareOfTime = 10;
constexpr useconds_t kSettle_us = 300;

// Holds the program's threads back while it lives.
class Gate {
 public:
  explicit Gate(std::atomic<std::uint32_t>& word) : word_(word) {
    word_.store(1, std::memory_order_release);
  }
  ~Gate() {
    word_.store(0, std::memory_order_release);
    syscall(SYS_futex, &word_, FUTEX_WAKE, 1 << 20, nullptr, nullptr, 0);
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

 private:
  std::atomic<std::uint32_t>& word_;
};

}  // namespace

void Session::picture_if_grown(Tracked& process) {
  if (!options_.pictures || stopped_ || process.unwritable || process.samples.empty()) return;
  const std::uint64_t bytes = process.samples.back().anon_bytes;
  if (bytes < process.pictured_bytes + process.pictured_bytes / kGrowthOf + kLeastGrowth) return;
  if (process.pictured_ns != 0 &&
      now_ns() - process.pictured_ns < kShareOfTime * process.picture_took_ns) {
    return;
  }
  process.pictured_bytes = bytes;
  take_picture(process, false);
}

void Session::take_picture(Tracked& process, bool at_end) {
  if (stopped_ || process.unwritable) return;
  channel::Process& shared = control_->processes[process.index];
  const std::uint64_t began = now_ns();
  try {
    std::optional<HeapPicture> picture;
    {
      const Gate gate(shared.paused);
      // A thread looks at the gate when it sees that the tick has moved.
      tick();
      usleep(kSettle_us);
      picture = look_at_heap(static_cast<pid_t>(process.pid), shared.allocator);
      // Twice: a thread's later block may come before its earlier one.
      for (int i = 0; i < 2; ++i) read_blocks();
      for (const auto& [thread, stream] : process.streams) {
        if (picture->events.size() <= thread) picture->events.resize(thread + 1);
        picture->events[thread] = stream->block_events;
      }
    }
    picture->time_ns = began;
    picture->at_end = at_end;
    if (at_end) {
      process.end = std::move(picture);
    } else if (!process.peak || picture->rss_bytes > process.peak->rss_bytes) {
      process.peak = std::move(picture);
    }
  } catch (const std::exception&) {
    // It has ended, or may not be looked at, or its records changed under the look and ask for more
    // than there is: then there is no picture. The recording goes on.
  }
  process.pictured_ns = now_ns();
  process.picture_took_ns = process.pictured_ns - began;
}

}  // namespace carrel::tools
