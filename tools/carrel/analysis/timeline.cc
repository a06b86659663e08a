// Timeline: see the header. All arithmetic on steps, no clocks.
#include "analysis/timeline.h"

#include <algorithm>

namespace carrel::tools {

void Timeline::halve() {
  const std::size_t half = (steps_.size() + 1) / 2;
  for (std::size_t i = 0; i < half; ++i) {
    Step joined = steps_[2 * i];
    if (2 * i + 1 < steps_.size()) {
      const Step& other = steps_[2 * i + 1];
      if (other.live_bytes > joined.live_bytes) {
        joined.live_bytes = other.live_bytes;
        joined.live_blocks = other.live_blocks;
      }
      joined.rss_bytes = std::max(joined.rss_bytes, other.rss_bytes);
      joined.has_rss = joined.has_rss || other.has_rss;
    }
    steps_[i] = joined;
  }
  steps_.resize(half);
  step_ns_ *= 2;
}

Timeline::Step& Timeline::step_at(std::uint64_t time_ns) {
  while (time_ns / step_ns_ >= most_steps_) halve();
  const auto index = static_cast<std::size_t>(time_ns / step_ns_);
  while (steps_.size() <= index) steps_.push_back({bytes_, blocks_, 0, false});
  return steps_[index];
}

void Timeline::live(std::uint64_t time_ns, std::uint64_t bytes, std::uint64_t blocks) {
  Step& step = step_at(time_ns);
  if (bytes >= step.live_bytes) {
    step.live_bytes = bytes;
    step.live_blocks = blocks;
  }
  bytes_ = bytes;
  blocks_ = blocks;
}

void Timeline::resident(std::uint64_t time_ns, std::uint64_t bytes) {
  Step& step = step_at(time_ns);
  step.rss_bytes = std::max(step.rss_bytes, bytes);
  step.has_rss = true;
}

}  // namespace carrel::tools
