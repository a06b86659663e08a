// Advice: see the header. The program runs several times: for the ceiling, once recorded, then
// under each allocator in turn.
#include "advise/advise.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "advise/gather.h"
#include "base/error.h"
#include "base/interrupt.h"
#include "base/temporary.h"
#include "compare/table.h"
#include "compare/trials.h"
#include "launch/linked_in.h"
#include "launch/preflight.h"
#include "launch/witness.h"
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

int runs_for(double seconds_a_run, std::size_t allocators) {
  const double rounds =
      kCompareSeconds / std::max(0.01, seconds_a_run * static_cast<double>(allocators + 1));
  return std::clamp(static_cast<int>(rounds), kLeastRuns, kMostRuns);
}

class Advice {
 public:
  explicit Advice(const AdviseOptions& options)
      : options_(options), folder_(options.folder, "advise") {}

  Json take() {
    if (!options_.trace.empty()) return take_trace();
    const Preflight check = preflight(options_.command);
    allocators_ = options_.allocators.empty() ? find_allocators() : options_.allocators;
    require_recordable(check, allocators_.front());
    catch_interrupts();
    run_.command = options_.command;
    run_.quiet = true;
    if (check.obstacle == Obstacle::kNone && !check.carries_hook) require_taking();
    // A program with the hook inside may have its allocator inside as well. The recording tells,
    // and then there is nothing that could be preloaded: no ceiling, no real runs.
    if (!check.carries_hook) look_at_ceiling();
    const LibraryInfo found = record_once();
    if (is_linked_in(found.name) || check.obstacle != Obstacle::kNone) {
      say(fmt::format("{} cannot be exchanged from outside: replays on the others, no real runs",
                      found.name));
      predict();
      return finish();
    }
    if (check.carries_hook) look_at_ceiling();
    name_baseline(found);
    add_ceiling(document_, *ceiling_, allocators_.front().name);
    keep();
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
    if (options_.allocators.empty()) name_recorded(reader.info().allocator);
    keep();
    predict();
    return finish();
  }

  Json finish() {
    document_["verdict"] = decide(document_, options_.verdict);
    Json& verdict = document_["verdict"];
    if (stopped_) verdict["doubts"].push_back("interrupted before all was measured");
    if (stopped_ && !options_.command.empty() && !document_.contains("comparison")) {
      // What only a replay says of a program that is at hand is not confirmed.
      verdict["action"] = "inconclusive";
      verdict["exit_code"] = kExitInconclusive;
      verdict["headline"] = "Inconclusive: interrupted before the program itself was compared. " +
                            verdict.value("headline", "");
    }
    keep();
    return document_;
  }

  // After each step, so that whatever stops the next leaves what there is.
  void keep() const {
    if (folder_.kept()) write_document(document_, folder_.path() / kDocumentFile);
  }

  void say(const std::string& line) const {
    if (options_.say) options_.say(line);
  }

  // A wrapper may start a program that takes nothing that is preloaded, and then all that could be
  // measured would be the wrapper.
  void require_taking() {
    const auto other = std::find_if(allocators_.begin(), allocators_.end(),
                                    [](const Allocator& a) { return !a.is_system(); });
    if (other == allocators_.end()) return;
    say("looking which process does the work");
    const std::string why = why_not_at_work(options_.command, *other);
    if (!why.empty()) {
      throw UserError("no verdict: {}; give advise that program itself", why);
    }
    work_looked_at_ = true;
  }

  void look_at_ceiling() {
    say("measuring the ceiling: CPU time in the allocator");
    ceiling_ = measure_ceiling(allocators_.front(), run_, kMostCeilingRuns);
    check_interrupt();
  }

  // What the recorded program ran on.
  LibraryInfo record_once() {
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
    keep();
    check_interrupt();
    return TraceReader(trace_).info().allocator;
  }

  // The program may bring an allocator along: then "nothing preloaded" is not the system's. A
  // replay does not bring it along: there it is preloaded like any other.
  void name_baseline(const LibraryInfo& found) {
    if (!allocators_.front().is_system() || found.name == allocators_.front().name) return;
    say(fmt::format("the program brings {} along: that is the baseline", found.name));
    std::erase_if(allocators_, [&](const Allocator& a) { return a.name == found.name; });
    if (allocators_.empty() || !allocators_.front().is_system()) {
      allocators_.insert(allocators_.begin(), Allocator{});
    }
    allocators_.front().name = found.name;
    brought_along_ = found;
  }

  // A trace's baseline is what it was recorded on, from the file that it names.
  void name_recorded(const LibraryInfo& found) {
    if (found.name == allocators_.front().name) return;
    if (is_linked_in(found.name)) {
      say(fmt::format("the trace was recorded on {}, which cannot be replayed; {} stands first",
                      found.name, allocators_.front().name));
      return;
    }
    std::error_code error;
    if (found.path.empty() || !std::filesystem::exists(found.path, error)) {
      throw UserError(
          "the trace was recorded on {}, which is not at {} here; name the baseline first in "
          "--alloc, such as {}=PATH,glibc",
          found.name, found.path.empty() ? "a known place" : found.path, found.name);
    }
    say(fmt::format("the trace was recorded on {}: that is the baseline", found.name));
    std::erase_if(allocators_, [&](const Allocator& a) { return a.name == found.name; });
    allocators_.insert(allocators_.begin(), {found.name, found.path});
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
    if (brought_along_) replay_options.allocators.front().library = brought_along_->path;
    replay_options.runs = kReplayRuns;
    say(fmt::format("replaying the trace on {} allocators, {} times each", allocators_.size(),
                    kReplayRuns));
    ReplayResults results = replay(replay_options);
    stopped_ = results.stopped;
    if (results.runs == 0) return;
    // A trace is of one process; calls were timed in all that the program started.
    if (const auto cpu = document_.find("cpu");
        cpu != document_.end() && cpu->value("processes", 0) == cpu->value("runs", 0)) {
      const double seconds = cpu->value("cpu_s", 0.0) / std::max(1, cpu->value("runs", 1));
      results.check_calls(seconds * cpu->value("timed_share", 0.0));
    }
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
    keep();
  }

  // Real runs cost time: the baseline and the few that did best.
  void keep_promising(const ReplayResults& results) {
    const char* metric = options_.verdict.goal == Goal::kRss ? "peak_rss_bytes" : "cpu_s";
    std::vector<std::pair<double, std::string>> order;
    for (std::size_t i = 1; i < results.allocators.size(); ++i) {
      const ReplayedAllocator& one = results.allocators[i];
      if (!one.failed.empty()) continue;
      if (const auto ratio = results.ratio(one, metric)) {
        order.emplace_back(ratio->median, one.allocator.name);
      }
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
    trials.work_looked_at = work_looked_at_;
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
    if (results.runs == 0) return;
    document_["comparison"] = results.json();
    if (brought_along_) {
      Json& baseline = document_["comparison"]["allocators"][0];
      baseline["path"] = brought_along_->path;
      baseline["version"] = brought_along_->version;
      baseline["build_id"] = brought_along_->build_id;
    }
  }

  const AdviseOptions& options_;
  OutputFolder folder_;
  std::vector<Allocator> allocators_;
  RunOptions run_;
  std::filesystem::path trace_;
  Json document_;
  std::optional<Ceiling> ceiling_;
  std::optional<LibraryInfo> brought_along_;  // by the program itself
  bool work_looked_at_ = false;
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
