// The massif exporter: live bytes over time, and at their peak the tree of who allocated them. A
// massif file names the innermost frame first, and what called it below. Frames have no addresses
// here: the document keeps none; their numbers in it stand in for them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "export/export.h"
#include "export/measures.h"

namespace carrel::tools {

namespace {

constexpr std::size_t kMostSnapshots = 100;
constexpr double kThreshold = 0.01;  // of the peak: smaller nodes are summed up

struct Node {
  std::uint64_t bytes = 0;
  std::map<std::size_t, Node> callers;  // by frame
};

// ms_print takes what follows a # for a comment.
std::string plain(std::string text) {
  std::replace(text.begin(), text.end(), '#', '.');
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

std::string frame_words(const Json& frame) {
  std::string where;
  if (frame.contains("file")) {
    where = std::filesystem::path(frame.value("file", "")).filename().string();
    if (frame.contains("line")) where += fmt::format(":{}", frame.value("line", 0));
  } else if (frame.contains("module")) {
    where = "in " + frame.value("module", "");
  }
  return plain(frame.value("function", "?") + (where.empty() ? "" : " (" + where + ")"));
}

class Tree {
 public:
  Tree(const Json& section, std::uint64_t peak_bytes) : frames_(section.at("frames")) {
    double sampled = 0;
    for (const Json& stack : section.at("stacks")) sampled += stack.value("peak_bytes", 0.0);
    // Sampled stacks stand for about as much as was live; the tree may not hold more.
    const double scale =
        sampled > static_cast<double>(peak_bytes) ? static_cast<double>(peak_bytes) / sampled : 1;
    root_.bytes = peak_bytes;
    threshold_ = static_cast<double>(peak_bytes) * kThreshold;
    std::uint64_t named = 0;
    for (const Json& stack : section.at("stacks")) {
      const auto bytes =
          static_cast<std::uint64_t>(std::floor(stack.value("peak_bytes", 0.0) * scale));
      if (bytes == 0) continue;
      named += bytes;
      Node* node = &root_;
      for (auto frame = stack.at("frames").rbegin(); frame != stack.at("frames").rend(); ++frame) {
        node = &node->callers[frame->get<std::size_t>()];
        node->bytes += bytes;
      }
    }
    unnamed_ = peak_bytes - std::min(peak_bytes, named);
  }

  std::string text() {
    out_.clear();
    write(root_, "(heap allocation functions) malloc/new/new[], --alloc-fns, etc.", 0, unnamed_);
    return std::move(out_);
  }

 private:
  // `rest`: bytes of the node that none of its callers accounts for and that have a line.
  void write(const Node& node, const std::string& words, int depth, std::uint64_t rest) {
    std::vector<std::pair<std::size_t, const Node*>> shown;
    std::uint64_t small_bytes = rest;
    std::size_t small_count = rest > 0 ? 1 : 0;
    for (const auto& [frame, caller] : node.callers) {
      if (static_cast<double>(caller.bytes) >= threshold_) {
        shown.emplace_back(frame, &caller);
      } else {
        small_bytes += caller.bytes;
        ++small_count;
      }
    }
    std::sort(shown.begin(), shown.end(), [](const auto& a, const auto& b) {
      return a.second->bytes != b.second->bytes ? a.second->bytes > b.second->bytes
                                                : a.first < b.first;
    });
    out_ += fmt::format("{:{}}n{}: {} {}\n", "", depth, shown.size() + (small_count > 0 ? 1 : 0),
                        node.bytes, words);
    for (const auto& [frame, caller] : shown) {
      write(*caller, fmt::format("{:#x}: {}", frame + 1, frame_words(frames_.at(frame))), depth + 1,
            0);
    }
    if (small_count > 0) {
      out_ += fmt::format("{:{}}n0: {} in {} places, not sampled or below {:.2f}%\n", "", depth + 1,
                          small_bytes, small_count, kThreshold * 100);
    }
  }

  const Json& frames_;
  Node root_;
  double threshold_ = 0;
  std::uint64_t unnamed_ = 0;
  std::string out_;
};

struct Snapshot {
  std::uint64_t time_ms = 0;
  std::uint64_t bytes = 0;
  bool is_peak = false;
};

// The highest of each stretch of steps, which includes the peak, and the end.
std::vector<Snapshot> snapshots_of(const Json& document) {
  const Json& timeline = document.at("timeline");
  const Json& seconds = timeline.at("seconds");
  const Json& live = timeline.at("live_bytes");
  const std::size_t steps = seconds.size();
  const std::size_t stride =
      std::max<std::size_t>(1, (steps + kMostSnapshots - 1) / kMostSnapshots);
  const auto at = [&](std::size_t i) {
    return Snapshot{static_cast<std::uint64_t>(std::llround(seconds.at(i).get<double>() * 1e3)),
                    live.at(i).get<std::uint64_t>(), false};
  };
  std::vector<Snapshot> out = {{0, 0, false}};
  std::size_t peak = 0;
  for (std::size_t first = 0; first < steps; first += stride) {
    std::size_t highest = first;
    for (std::size_t i = first; i < std::min(first + stride, steps); ++i) {
      if (live.at(i).get<std::uint64_t>() > live.at(highest).get<std::uint64_t>()) highest = i;
    }
    out.push_back(at(highest));
    if (out.back().bytes > out[peak].bytes) peak = out.size() - 1;
  }
  out[peak].is_peak = true;
  const double end = document.at("program").value("seconds", 0.0);
  const auto end_ms = static_cast<std::uint64_t>(std::llround(end * 1e3));
  if (end_ms > out.back().time_ms) {
    out.push_back({end_ms, document.at("totals").value("leaked_bytes", std::uint64_t{0}), false});
  }
  return out;
}

}  // namespace

std::string export_massif(const Json& document) {
  std::string command;
  for (const Json& word : document.at("program").at("command")) {
    command += (command.empty() ? "" : " ") + word.get<std::string>();
  }
  std::string out = fmt::format("desc: carrel {}\ncmd: {}\ntime_unit: ms\n",
                                document.at("provenance").value("carrel", "?"), plain(command));
  std::size_t number = 0;
  for (const Snapshot& snapshot : snapshots_of(document)) {
    out += fmt::format(
        "#-----------\nsnapshot={}\n#-----------\ntime={}\nmem_heap_B={}\nmem_heap_extra_B=0\n"
        "mem_stacks_B=0\nheap_tree=",
        number++, snapshot.time_ms, snapshot.bytes);
    if (snapshot.is_peak && document.contains("stacks")) {
      out += "peak\n" + Tree(document.at("stacks"), snapshot.bytes).text();
    } else {
      out += "empty\n";
    }
  }
  return out;
}

}  // namespace carrel::tools
