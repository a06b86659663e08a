// Analyzer: turns a trace's events, one after another, into the numbers of the analysis document.
// One pass; memory for each thread, stack and pair of threads that free each other's blocks, not
// for each event. It reads no file and prints nothing; analysis/schema.md says what comes out.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <vector>

#include "analysis/histogram.h"
#include "analysis/timeline.h"
#include "trace/event.h"

namespace carrel::tools {

// What the objects of one stack came to; weighted by what each sampled object stands for.
struct StackNumbers {
  double allocations = 0;
  double bytes = 0;
  double live_bytes = 0;  // at the end of the trace: never freed
  double peak_bytes = 0;  // live at the moment of the program's peak; valid after finish()
  double temporary = 0;
  std::uint64_t changed = 0;  // number of the event that last changed live_bytes
};

struct Totals {
  std::uint64_t allocations = 0;
  std::uint64_t frees = 0;
  std::uint64_t reallocations = 0;
  std::uint64_t refused = 0;
  std::uint64_t allocated_bytes = 0;
  std::uint64_t live_bytes = 0;
  std::uint64_t live_blocks = 0;
  std::uint64_t peak_live_bytes = 0;
  std::uint64_t peak_live_blocks = 0;  // at the peak of bytes
  std::uint64_t peak_at_ns = 0;
  std::uint64_t temporary = 0;
  std::uint64_t cross_thread_frees = 0;
  std::uint64_t unknown_frees = 0;
};

class Analyzer {
 public:
  // `stack_interval`: TraceInfo::stack_interval.
  explicit Analyzer(std::uint64_t stack_interval = 0) : interval_(stack_interval) {}

  void add(const Event& event);
  // Resident memory, once all events were added.
  void add(const MemorySample& sample);
  // Settles what only the end of the trace tells. Call once, last.
  void finish();

  const Totals& totals() const { return totals_; }
  const std::unordered_map<std::uint32_t, StackNumbers>& stacks() const { return stacks_; }
  std::uint64_t peak_rss_bytes() const { return peak_rss_bytes_; }
  const MemorySample& peak_rss_sample() const { return peak_rss_sample_; }
  // Requested bytes live when resident memory was highest, to the timeline's resolution.
  std::uint64_t live_bytes_near(std::uint64_t time_ns) const;

  // The sections totals, timeline, sizes, lifetimes, size_lifetime, threads, thread_frees.
  nlohmann::ordered_json sections() const;

 private:
  struct Thread {
    std::uint64_t allocations = 0;
    std::uint64_t frees = 0;
    std::uint64_t bytes = 0;
    std::uint64_t latest = kNoObject;  // its last allocation, while nothing followed it
    Event resizing;                    // the kReallocBegin that waits for its end
  };

  void begin(const Event& event, bool again);
  void end(const Event& event);
  void keep(const Event& resizing);
  void change_stack(std::uint32_t stack, std::uint64_t size, double sign);
  Thread& thread(std::uint32_t number);
  nlohmann::ordered_json thread_sections() const;

  std::uint64_t interval_;
  std::uint64_t number_ = 0;  // of the event at hand
  std::uint64_t peak_number_ = 0;
  std::uint64_t last_ns_ = 0;
  Totals totals_;
  Timeline timeline_;
  std::vector<Thread> threads_;
  std::unordered_map<std::uint32_t, StackNumbers> stacks_;
  std::unordered_map<std::uint64_t, std::uint64_t> frees_;  // born << 32 | freed by
  std::array<std::array<std::uint64_t, kLifetimeClasses>, kSizeClasses> grid_{};
  std::array<std::uint64_t, kSizeClasses> class_bytes_{};
  std::uint64_t peak_rss_bytes_ = 0;
  MemorySample peak_rss_sample_;
};

}  // namespace carrel::tools
