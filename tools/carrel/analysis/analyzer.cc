// Analyzer: see the header. The count of live blocks by size class is kept in the grid's last
// column ("never freed") and moves to its lifetime's column when the block ends.
#include "analysis/analyzer.h"

#include <algorithm>
#include <numeric>
#include <string>

namespace carrel::tools {

namespace {

constexpr std::size_t kMostThreads = 24;
constexpr double kNsPerSecond = 1e9;

template <typename Bounds>
nlohmann::ordered_json bounds_of(const Bounds& bounds, double scale) {
  auto out = nlohmann::ordered_json::array();
  for (const std::uint64_t bound : bounds) {
    if (scale == 1) {
      out.push_back(bound);
    } else {
      out.push_back(static_cast<double>(bound) / scale);
    }
  }
  out.push_back(nullptr);
  return out;
}

}  // namespace

Analyzer::Thread& Analyzer::thread(std::uint32_t number) {
  if (number >= threads_.size()) threads_.resize(std::size_t{number} + 1);
  return threads_[number];
}

// The peak of each stack's live bytes at the program's peak: a stack that has not changed since the
// peak still has its value of then; one that changes for the first time after it notes that value.
void Analyzer::change_stack(std::uint32_t stack, std::uint64_t size, double sign) {
  StackNumbers& numbers = stacks_[stack];
  if (numbers.changed <= peak_number_) numbers.peak_bytes = numbers.live_bytes;
  numbers.changed = number_;
  numbers.live_bytes = std::max(0.0, numbers.live_bytes + sign * sampled_bytes(size, interval_));
}

void Analyzer::begin(const Event& event, bool again) {
  Thread& self = thread(event.thread);
  if (again) {
    ++totals_.reallocations;
  } else {
    ++totals_.allocations;
    ++self.allocations;
  }
  self.bytes += event.size;
  self.latest = event.object;
  totals_.allocated_bytes += event.size;
  totals_.live_bytes += event.size;
  ++totals_.live_blocks;
  const std::size_t size_class = size_class_of(event.size);
  ++grid_[size_class][kNeverFreed];
  class_bytes_[size_class] += event.size;
  if (event.stack != 0) {
    change_stack(event.stack, event.size, 1);
    StackNumbers& numbers = stacks_[event.stack];
    numbers.allocations += sampled_objects(event.size, interval_);
    numbers.bytes += sampled_bytes(event.size, interval_);
  }
  if (totals_.live_bytes > totals_.peak_live_bytes) {
    totals_.peak_live_bytes = totals_.live_bytes;
    totals_.peak_live_blocks = totals_.live_blocks;
    totals_.peak_at_ns = event.time_ns;
    peak_number_ = number_;
  }
}

void Analyzer::end(const Event& event) {
  if (event.object == kNoObject) {
    // realloc of a null pointer begins like malloc; anything else is a block from before the trace.
    if (event.op != Op::kReallocBegin) {
      ++totals_.unknown_frees;
      ++thread(event.thread).frees;
    }
    return;
  }
  Thread& self = thread(event.thread);
  if (event.op != Op::kReallocBegin && event.op != Op::kLost) {
    ++totals_.frees;
    ++self.frees;
    if (event.born_thread != kNoThread) {
      ++frees_[std::uint64_t{event.born_thread} << 32 | event.thread];
      if (event.born_thread != event.thread) ++totals_.cross_thread_frees;
    }
    if (self.latest == event.object) {
      ++totals_.temporary;
      if (event.stack != 0) {
        stacks_[event.stack].temporary += sampled_objects(event.size, interval_);
      }
    }
  }
  if (self.latest == event.object) self.latest = kNoObject;
  totals_.live_bytes -= std::min(totals_.live_bytes, event.size);
  totals_.live_blocks -= std::min<std::uint64_t>(totals_.live_blocks, 1);
  auto& row = grid_[size_class_of(event.size)];
  if (row[kNeverFreed] > 0) --row[kNeverFreed];
  ++row[lifetime_class_of(event.time_ns - std::min(event.time_ns, event.born_ns))];
  if (event.stack != 0) change_stack(event.stack, event.size, -1);
}

// A realloc was refused: the block that its beginning ended lives on.
void Analyzer::keep(const Event& resizing) {
  if (resizing.object == kNoObject) return;
  totals_.live_bytes += resizing.size;
  ++totals_.live_blocks;
  auto& row = grid_[size_class_of(resizing.size)];
  const std::uint64_t age = resizing.time_ns - std::min(resizing.time_ns, resizing.born_ns);
  --row[lifetime_class_of(age)];
  ++row[kNeverFreed];
  if (resizing.stack != 0) change_stack(resizing.stack, resizing.size, 1);
}

void Analyzer::add(const Event& event) {
  ++number_;
  last_ns_ = std::max(last_ns_, event.time_ns);
  if (ends(event.op)) {
    end(event);
    if (event.op == Op::kReallocBegin) thread(event.thread).resizing = event;
  } else if (begins(event.op)) {
    const bool refused = event.address == 0;
    if (event.op == Op::kReallocEnd) {
      Event& resizing = thread(event.thread).resizing;
      if (refused) {
        // realloc(p, 0) frees and returns null: nothing was refused.
        if (resizing.wanted != 0) keep(resizing);
      } else {
        begin(event, event.previous != kNoObject);
      }
      resizing = Event{};
    } else if (!refused) {
      begin(event, false);
    }
    if (refused && event.size != 0) ++totals_.refused;
  } else {
    thread(event.thread);
    return;
  }
  timeline_.live(event.time_ns, totals_.live_bytes, totals_.live_blocks);
}

void Analyzer::add(const MemorySample& sample) {
  const std::uint64_t rss = sample.anon_bytes + sample.file_bytes;
  timeline_.resident(sample.time_ns, rss);
  if (rss > peak_rss_bytes_) {
    peak_rss_bytes_ = rss;
    peak_rss_sample_ = sample;
  }
}

void Analyzer::finish() {
  for (auto& [number, numbers] : stacks_) {
    if (numbers.changed <= peak_number_) numbers.peak_bytes = numbers.live_bytes;
  }
}

std::uint64_t Analyzer::live_bytes_near(std::uint64_t time_ns) const {
  const auto& steps = timeline_.steps();
  if (steps.empty()) return 0;
  const auto index = static_cast<std::size_t>(time_ns / timeline_.step_ns());
  return steps[std::min(index, steps.size() - 1)].live_bytes;
}

nlohmann::ordered_json Analyzer::thread_sections() const {
  std::vector<std::size_t> order(threads_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto traffic = [&](std::size_t i) { return threads_[i].allocations + threads_[i].frees; };
  const bool fold = order.size() > kMostThreads;
  std::size_t shown = order.size();
  if (fold) {
    shown = kMostThreads - 1;
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return traffic(a) > traffic(b); });
    std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(shown));
  }
  const std::size_t rows = fold ? kMostThreads : order.size();
  std::vector<std::size_t> place(threads_.size(), shown);
  std::vector<Thread> folded(rows);
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::size_t row = std::min(i, shown);
    place[order[i]] = row;
    if (row >= rows) continue;
    folded[row].allocations += threads_[order[i]].allocations;
    folded[row].frees += threads_[order[i]].frees;
    folded[row].bytes += threads_[order[i]].bytes;
  }
  std::vector<std::vector<std::uint64_t>> counts(rows, std::vector<std::uint64_t>(rows));
  for (const auto& [pair, count] : frees_) {
    const auto born = static_cast<std::size_t>(pair >> 32);
    const auto freed = static_cast<std::size_t>(pair & 0xffffffffU);
    if (born < place.size() && freed < place.size()) counts[place[born]][place[freed]] += count;
  }
  auto threads = nlohmann::ordered_json::array();
  for (std::size_t row = 0; row < rows; ++row) {
    std::string name = "thread " + std::to_string(row < order.size() ? order[row] : row);
    if (fold && row == shown) name = std::to_string(order.size() - shown) + " others";
    if (!fold || row < shown) name = order[row] == 0 ? "thread 0 (first)" : name;
    threads.push_back({{"name", name},
                       {"allocations", folded[row].allocations},
                       {"frees", folded[row].frees},
                       {"bytes", folded[row].bytes}});
  }
  nlohmann::ordered_json out;
  out["threads"] = std::move(threads);
  out["thread_frees"] = {{"count", counts}};
  return out;
}

nlohmann::ordered_json Analyzer::sections() const {
  using Json = nlohmann::ordered_json;
  Json out;
  out["totals"] = {{"allocations", totals_.allocations},
                   {"frees", totals_.frees},
                   {"reallocations", totals_.reallocations},
                   {"refused", totals_.refused},
                   {"allocated_bytes", totals_.allocated_bytes},
                   {"peak_live_bytes", totals_.peak_live_bytes},
                   {"peak_live_blocks", totals_.peak_live_blocks},
                   {"peak_at_s", static_cast<double>(totals_.peak_at_ns) / kNsPerSecond},
                   {"leaked_blocks", totals_.live_blocks},
                   {"leaked_bytes", totals_.live_bytes},
                   {"temporary", totals_.temporary},
                   {"cross_thread_frees", totals_.cross_thread_frees},
                   {"unknown_frees", totals_.unknown_frees}};
  if (peak_rss_bytes_ != 0) out["totals"]["peak_rss_bytes"] = peak_rss_bytes_;

  Json seconds = Json::array(), live = Json::array(), blocks = Json::array(), rss = Json::array();
  const double step_s = static_cast<double>(timeline_.step_ns()) / kNsPerSecond;
  for (std::size_t i = 0; i < timeline_.steps().size(); ++i) {
    const Timeline::Step& step = timeline_.steps()[i];
    seconds.push_back(static_cast<double>(i) * step_s);
    live.push_back(step.live_bytes);
    blocks.push_back(step.live_blocks);
    rss.push_back(step.has_rss ? Json(step.rss_bytes) : Json(nullptr));
  }
  out["timeline"] = {
      {"seconds", seconds}, {"live_bytes", live}, {"live_blocks", blocks}, {"rss_bytes", rss}};

  std::array<std::uint64_t, kSizeClasses> by_size{};
  std::array<std::uint64_t, kLifetimeClasses> by_lifetime{};
  for (std::size_t y = 0; y < kSizeClasses; ++y) {
    for (std::size_t x = 0; x < kLifetimeClasses; ++x) {
      by_size[y] += grid_[y][x];
      by_lifetime[x] += grid_[y][x];
    }
  }
  const Json sizes = bounds_of(kSizeBounds, 1);
  const Json lifetimes = bounds_of(kLifetimeBounds_ns, kNsPerSecond);
  out["sizes"] = {{"upper_bytes", sizes}, {"allocations", by_size}, {"bytes", class_bytes_}};
  out["lifetimes"] = {{"upper_s", lifetimes},
                      {"allocations", by_lifetime},
                      {"never_freed", by_lifetime[kNeverFreed]}};
  out["size_lifetime"] = {{"upper_bytes", sizes}, {"upper_s", lifetimes}, {"allocations", grid_}};
  out.update(thread_sections());
  return out;
}

}  // namespace carrel::tools
