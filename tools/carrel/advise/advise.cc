// Advice: see the header. The program runs several times: for the ceiling, once recorded, then
// under each allocator in turn.
#include "advise/advise.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "advise/gather.h"
#include "base/error.h"
#include "base/interrupt.h"
#include "compare/table.h"
#include "compare/trials.h"
#include "launch/preflight.h"
#include "replay/replay.h"

namespace carrel::tools {

namespace {

constexpr int kMostCeilingRuns = 5;
constexpr double kCompareSeconds = 60;
constexpr int kLeastRuns = 5;
constexpr int kMostRuns = 15;
constexpr int kReplayRuns = 3;
constexpr std::size_t kMostCompared = 3;  // beside the baseline
constexpr double kTail = 0.999;           // the latency that goal tail compares is below it

// The folder that was asked for, or one that goes away.
class Folder {
 public:
  explicit Folder(const std::string& wanted) : kept_(!wanted.empty()) {
    std::error_code error;
    if (kept_) {
      path_ = wanted;
      std::filesystem::create_directories(path_, error);
      if (error) {
        throw UserError("cannot make {}: {}; choose another folder with -o", wanted,
                        error.message());
      }
      return;
    }
    std::string name =
        (std::filesystem::temp_directory_path(error) / "carrel-advise-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) {
      throw UserError("cannot make {}: {}; set TMPDIR to a folder with room", name,
                      std::strerror(errno));
    }
    path_ = name;
  }
  ~Folder() {
    std::error_code error;
    if (!kept_) std::filesystem::remove_all(path_, error);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  bool kept() const { return kept_; }

 private:
  bool kept_;
  std::filesystem::path path_;
};

int runs_for(double seconds_a_run, std::size_t allocators) {
  const double rounds =
      kCompareSeconds / std::max(0.01, seconds_a_run * static_cast<double>(allocators + 1));
  return std::clamp(static_cast<int>(rounds), kLeastRuns, kMostRuns);
}

class Advice {
 public:
  explicit Advice(const AdviseOptions& options) : options_(options), folder_(options.folder) {}

  Json take() {
    if (!options_.trace.empty()) return take_trace();
    require_preloadable(preflight(options_.command));
    catch_interrupts();
    allocators_ = options_.allocators.empty() ? find_allocators() : options_.allocators;
    run_.command = options_.command;
    run_.quiet = true;
    measure();
    if (!settled()) {
      predict();
      compare();
    }
    return finish();
  }

 private:
  // A trace alone: what the replay predicts.
  Json take_trace() {
    catch_interrupts();
    allocators_ = options_.allocators.empty() ? find_allocators() : options_.allocators;
    trace_ = options_.trace;
    TraceReader reader(trace_);
    say("reading the trace");
    document_ = analyse(reader, trace_);
    check_interrupt();
    name_baseline();
    predict();
    return finish();
  }

  Json finish() {
    document_["verdict"] = decide(document_, options_.verdict);
    if (stopped_) document_["verdict"]["doubts"].push_back("interrupted before all was measured");
    if (folder_.kept()) write_document(document_, folder_.path() / kDocumentFile);
    return document_;
  }

  void say(const std::string& line) const {
    if (options_.say) options_.say(line);
  }

  void measure() {
    say("measuring the ceiling: CPU time in the allocator");
    ceiling_ = measure_ceiling(allocators_.front(), run_, kMostCeilingRuns);
    check_interrupt();
    say("recording one run");
    GatherOptions gather_options;
    gather_options.command = options_.command;
    gather_options.allocator = allocators_.front();
    gather_options.folder = folder_.path();
    gather_options.quiet = true;
    gather_options.say = options_.say;
    Gathered gathered = gather(gather_options);
    document_ = std::move(gathered.document);
    trace_ = gathered.trace;
    check_interrupt();
    name_baseline();
    add_ceiling(document_, *ceiling_, allocators_.front().name);
  }

  // The program may bring an allocator along: then "nothing preloaded" is not the system's.
  void name_baseline() {
    const std::string found =
        document_.at("provenance").at("allocator").value("name", allocators_.front().name);
    if (allocators_.front().is_system() && found != allocators_.front().name) {
      say(fmt::format("the program brings {} along: that is the baseline", found));
      std::erase_if(allocators_, [&](const Allocator& a) { return a.name == found; });
      allocators_.front().name = found;
    }
  }

  void check_interrupt() const {
    if (interrupted()) throw UserError("interrupted before there was anything to decide from");
  }

  bool settled() const {
    return options_.verdict.goal == Goal::kCpu && !options_.verdict.hardened && !options_.all &&
           ceiling_->in_allocator.high < options_.verdict.min_gain;
  }

  // Replays the trace on every allocator.
  void predict() {
    ReplayOptions replay_options;
    replay_options.trace = trace_;
    replay_options.allocators = allocators_;
    replay_options.runs = kReplayRuns;
    say(fmt::format("replaying the trace on {} allocators, {} times each", allocators_.size(),
                    kReplayRuns));
    const ReplayResults results = replay(replay_options);
    stopped_ = results.stopped;
    if (results.runs == 0) return;
    const Json sections = results.json();
    document_["replay"] = sections.at("replay");
    document_["fidelity"] = sections.at("fidelity");
    // Curves of replays stand beside those of the program itself.
    for (Json curve : sections.at("latency").at("curves")) {
      curve["operation"] = curve.value("operation", "") + ", replayed";
      document_["latency"]["quantiles"] = sections.at("latency").at("quantiles");
      document_["latency"]["curves"].push_back(std::move(curve));
    }
    if (results.faithful) keep_promising(results);
  }

  // Real runs cost time: the baseline and the few that did best.
  void keep_promising(const ReplayResults& results) {
    const char* metric = options_.verdict.goal == Goal::kRss ? "peak_rss_bytes" : "cpu_s";
    std::vector<std::pair<double, std::string>> order;
    for (std::size_t i = 1; i < results.allocators.size(); ++i) {
      const ReplayedAllocator& one = results.allocators[i];
      const double ratio = results.ratio(one, metric).median;
      if (one.failed.empty() && ratio > 0) order.emplace_back(ratio, one.allocator.name);
    }
    std::sort(order.begin(), order.end());
    if (order.size() > kMostCompared) order.resize(kMostCompared);
    const auto promising = [&](const Allocator& allocator) {
      return std::any_of(order.begin(), order.end(),
                         [&](const auto& entry) { return entry.second == allocator.name; });
    };
    if (order.empty() || options_.verdict.hardened || options_.all) return;
    const Allocator baseline = allocators_.front();
    std::erase_if(allocators_, [&](const Allocator& allocator) { return !promising(allocator); });
    allocators_.insert(allocators_.begin(), baseline);
  }

  void compare() {
    if (interrupted()) return;
    TrialOptions trials;
    trials.run = run_;
    trials.allocators = allocators_;
    const double seconds = ceiling_->cpu_s / std::max(1, ceiling_->runs);
    trials.runs = options_.runs > 0 ? options_.runs : runs_for(seconds, allocators_.size());
    std::optional<GaugeFile> gauge;
    if (options_.verdict.goal == Goal::kTail) {
      gauge.emplace();
      trials.prepare = [&](RunOptions& run) {
        gauge->reset();
        gauge->prepare(run);
      };
      trials.read = [&]() -> std::map<std::string, double> {
        return {{"tail_ns", gauge->allocation_quantile(kTail)}};
      };
    }
    say(fmt::format("comparing {} allocators in real runs, {} of each", allocators_.size(),
                    trials.runs));
    const TrialResults results = run_trials(trials);
    stopped_ = results.stopped;
    if (results.runs > 0) document_["comparison"] = results.json();
  }

  const AdviseOptions& options_;
  Folder folder_;
  std::vector<Allocator> allocators_;
  RunOptions run_;
  std::filesystem::path trace_;
  Json document_;
  std::optional<Ceiling> ceiling_;
  bool stopped_ = false;
};

}  // namespace

Json advise(const AdviseOptions& options) { return Advice(options).take(); }

std::string advice_text(const Json& document) {
  std::string out = overview(document);
  if (document.contains("replay")) {
    out += "\nReplays of the trace:\n" + comparison_table(document.at("replay"));
  }
  if (document.contains("comparison")) {
    out += "\nReal runs of the program:\n" + comparison_table(document.at("comparison"));
  }
  return out + "\n" + verdict_text(document.at("verdict"));
}

}  // namespace carrel::tools
