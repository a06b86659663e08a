// Live and resident bytes over time in a bounded number of steps, however long the trace: when the
// steps run out, each two become one. A step keeps its highest values, so that peaks stay.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace carrel::tools {

class Timeline {
 public:
  struct Step {
    std::uint64_t live_bytes = 0;   // highest within the step
    std::uint64_t live_blocks = 0;  // at that moment
    std::uint64_t rss_bytes = 0;    // highest sample within the step
    bool has_rss = false;
  };

  // Steps start at 1 ms wide; `most_steps` must be even.
  explicit Timeline(std::size_t most_steps = 800) : most_steps_(most_steps) {}

  // Times must not decrease by more than a step: an earlier time counts as the last step's.
  void live(std::uint64_t time_ns, std::uint64_t bytes, std::uint64_t blocks);
  // Any order; after the last live().
  void resident(std::uint64_t time_ns, std::uint64_t bytes);

  const std::vector<Step>& steps() const { return steps_; }
  std::uint64_t step_ns() const { return step_ns_; }

 private:
  Step& step_at(std::uint64_t time_ns);
  void halve();

  std::size_t most_steps_;
  std::uint64_t step_ns_ = 1'000'000;
  std::uint64_t bytes_ = 0;  // what the next step starts with
  std::uint64_t blocks_ = 0;
  std::vector<Step> steps_;
};

}  // namespace carrel::tools
