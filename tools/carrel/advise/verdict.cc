// The verdict: see the header for the rule.
#include "advise/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <optional>
#include <vector>

#include "base/error.h"
#include "compare/statistics.h"
#include "compare/table.h"
#include "launch/linked_in.h"

namespace carrel::tools {

namespace {

constexpr double kWorthNaming = 0.01;  // of the other resource, in the headline
// What a run must save for a library more to be worth it, whatever its share: about what loading
// one takes.
constexpr double kLeastSaved_s = 0.001;
constexpr double kLeastSaved_bytes = 256 << 10;
constexpr double kWaiting = 0.05;  // share of the calls' time spent asleep: threads contend
constexpr const char* kSystem = "glibc";
constexpr const char* kSystemKind = "the system's: size and simplicity rule";
constexpr const char* kHardenedNames[] = {"scudo", "hardened_malloc", "carrel-secure"};

const char* goal_word(Goal goal) {
  return goal == Goal::kCpu ? "cpu" : goal == Goal::kRss ? "rss" : "tail";
}

const char* metric_of(Goal goal) {
  return goal == Goal::kCpu ? "cpu_s" : goal == Goal::kRss ? "peak_rss_bytes" : "tail_ns";
}

const char* other_metric(Goal goal) { return goal == Goal::kRss ? "cpu_s" : "peak_rss_bytes"; }

std::string title(const std::string& metric) {
  return metric == "tail_ns" ? "latency of the slowest calls (p99.9)" : metric_title(metric);
}

Interval interval(const Json& json) {
  return {json.value("median", 0.0), json.value("low", 0.0), json.value("high", 0.0)};
}

std::string range(const Interval& value) {
  return fmt::format("{} to {}", percent(value.low), percent(value.high));
}

std::string ratio_words(const Interval& ratio) {
  return fmt::format("{:.3f} ({:.3f} to {:.3f})", ratio.median, ratio.low, ratio.high);
}

// "9.0% less", "4.1% more", "as much".
std::string change_words(double ratio) {
  if (std::fabs(ratio - 1) < 0.0005) return "as much";
  return ratio <= 1 ? percent(1 - ratio) + " less" : percent(ratio - 1) + " more";
}

// As a shell takes it.
std::string quoted(const std::string& word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || std::strchr("_-./=:,+@%", c) != nullptr;
  });
  if (plain) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

struct Candidate {
  std::string name;
  std::string path;
  Interval ratio;
  std::optional<Interval> other;
  double gain() const { return 1 - ratio.median; }
};

// What one comparison, real or replayed, says about one goal.
struct Field {
  std::string baseline;
  std::string metric;
  std::string source;  // "in real runs" or "in replays"
  int runs = 0;
  double noise = 0;
  std::optional<double> baseline_value;  // of the metric, in its unit, a run
  std::vector<Candidate> candidates;     // without the baseline
  std::vector<std::string> failures;
};

std::optional<Interval> find_ratio(const Json& entry, const std::string& metric) {
  if (!entry.contains("ratios") || !entry.at("ratios").contains(metric)) return std::nullopt;
  return interval(entry.at("ratios").at(metric));
}

Field field_of(const Json& comparison, Goal goal, const std::string& source) {
  Field field;
  field.baseline = comparison.value("baseline", "");
  field.metric = metric_of(goal);
  field.source = source;
  field.runs = comparison.value("runs", 0);
  if (comparison.contains("noise")) field.noise = comparison.at("noise").value(field.metric, 0.0);
  for (const Json& entry : comparison.at("allocators")) {
    const std::string name = entry.value("name", "");
    if (entry.contains("failed")) {
      field.failures.push_back(name + ": " + entry.value("failed", ""));
      continue;
    }
    if (name == field.baseline) {
      if (const Json metrics = entry.value("metrics", Json::object());
          metrics.contains(field.metric)) {
        field.baseline_value = metrics.at(field.metric).value("median", 0.0);
      }
      continue;
    }
    const auto ratio = find_ratio(entry, field.metric);
    if (!ratio) continue;
    field.candidates.push_back(
        {name, entry.value("path", ""), *ratio, find_ratio(entry, other_metric(goal))});
  }
  std::sort(field.candidates.begin(), field.candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.ratio.median < b.ratio.median; });
  return field;
}

class Decision {
 public:
  Decision(const Json& document, const VerdictOptions& options)
      : document_(document), options_(options) {
    const Json& provenance = document.at("provenance");
    if (!provenance.contains("allocator")) return;
    current_ = provenance.at("allocator").value("name", "?");
  }

  Json take() {
    if (const std::string failed = document_.at("program").value("failed", ""); !failed.empty()) {
      doubts_.push_back(fmt::format(
          "the program {} when it was recorded: see that it does its work under carrel run first",
          failed));
    }
    if (document_.contains("cpu")) note_ceiling();
    const bool real = document_.contains("comparison");
    const bool replayed = document_.contains("replay");
    if (document_.contains("fidelity")) note_fidelity();
    if (real) field_ = field_of(document_.at("comparison"), options_.goal, "in real runs");
    if (replayed && faithful_) predicted_ = prediction();
    if (!real) field_ = predicted_;
    if (field_ && !field_->baseline.empty()) current_ = field_->baseline;
    if (options_.goal == Goal::kCpu && !options_.hardened && below_ceiling()) return finish();
    if (!field_ && replayed && is_linked_in(current_)) {
      return settle(kExitInconclusive,
                    current_ +
                        " is part of the program: it can be neither replayed nor exchanged "
                        "from outside, so that no gain over it is known. The replays compare "
                        "the others with each other; link one of them in and time both "
                        "builds");
    }
    if (!field_ && replayed && !faithful_) {
      return settle(kExitInconclusive,
                    "the replay is not faithful to the program, and the program "
                    "itself was not compared; give advise the command");
    }
    if (!field_) {
      throw UserError("this analysis holds no comparison to decide from; run carrel advise -- CMD");
    }
    for (const std::string& failure : field_->failures) doubts_.push_back(failure);
    if (options_.hardened) return harden();
    return choose();
  }

 private:
  void evidence(const std::string& label, const std::string& value, const std::string& basis) {
    evidence_.push_back({{"label", label}, {"value", value}, {"basis", basis}});
  }

  void note_ceiling() {
    const Json& cpu = document_.at("cpu");
    ceiling_ = interval(cpu.at("in_allocator"));
    const bool sampled = cpu.value("by", "samples") == "samples";
    evidence("most that a free allocator could save", percent(ceiling_->median),
             sampled
                 ? fmt::format("{} of {} CPU-time samples were in the allocator, 95% interval {}",
                               cpu.value("samples_in_allocator", 0), cpu.value("samples", 0),
                               range(*ceiling_))
                 : fmt::format("{} timed calls, within {}", cpu.value("timed_calls", 0),
                               range(*ceiling_)));
    if (sampled && cpu.contains("timed_share")) {
      evidence("the same by timed calls", percent(cpu.value("timed_share", 0.0)),
               fmt::format("{} timed calls, give or take {}", cpu.value("timed_calls", 0),
                           percent(cpu.value("timed_error", 0.0))));
      if (!cpu.value("agree", true)) {
        doubts_.push_back("samples and timed calls disagree about the allocator's share");
      }
    }
    if (cpu.value("seen", 1.0) < 0.8 && sampled) {
      doubts_.push_back(fmt::format("the samples account for {} of the CPU time only",
                                    percent(cpu.value("seen", 1.0), 0)));
    }
  }

  void note_fidelity() {
    const Json& fidelity = document_.at("fidelity");
    faithful_ = fidelity.value(options_.goal == Goal::kRss ? "within_memory" : "within", false);
    std::string worst;
    for (const Json& check : fidelity.at("checks")) {
      if (!check.value("ok", false)) worst += (worst.empty() ? "" : ", ") + check.value("what", "");
    }
    const std::string all = fmt::format("{} checks", fidelity.at("checks").size());
    evidence("replay's fidelity", faithful_ ? "within tolerance" : "out of tolerance",
             worst.empty() ? all
             : faithful_   ? fmt::format("{}, but not {}", all, worst)
                           : worst);
  }

  // A replay holds nothing but the allocator's work. Of the program's CPU time that is only a
  // share: the measured one, else what the replay itself took of the recorded run's CPU time.
  std::optional<Field> prediction() const {
    const Json& replay = document_.at("replay");
    Field field = field_of(replay, options_.goal, "as the replay predicts");
    if (options_.goal != Goal::kCpu) return field;
    double share = ceiling_ ? ceiling_->median : 0;
    if (!ceiling_) {
      const double cpu_s = document_.at("program").value("cpu_s", 0.0);
      for (const Json& entry : replay.at("allocators")) {
        if (entry.value("name", "") != field.baseline || !entry.contains("metrics")) continue;
        share = cpu_s > 0 ? interval(entry.at("metrics").at("cpu_s")).median / cpu_s : 0;
      }
      if (share <= 0) return std::nullopt;
      share = std::min(share, 1.0);
    }
    field.noise *= share;
    for (Candidate& candidate : field.candidates) {
      for (double* value : {&candidate.ratio.median, &candidate.ratio.low, &candidate.ratio.high}) {
        *value = 1 - share * (1 - *value);
      }
    }
    return field;
  }

  // What the replay had said of an allocator that real runs decided about.
  void note_prediction(const Candidate& candidate) {
    if (!predicted_ || !document_.contains("comparison")) return;
    for (const Candidate& one : predicted_->candidates) {
      if (one.name != candidate.name) continue;
      evidence("the same, predicted by replay", fmt::format("{:.3f}", one.ratio.median),
               fmt::format("95% interval {:.3f} to {:.3f}", one.ratio.low, one.ratio.high));
      const double tolerance = std::max(options_.min_gain, field_->noise);
      if (std::fabs(one.ratio.median - candidate.ratio.median) > tolerance) {
        doubts_.push_back(fmt::format("the replay had predicted {} for {}, real runs show {}",
                                      change_words(one.ratio.median), one.name,
                                      change_words(candidate.ratio.median)));
      }
    }
  }

  // Step 1. The upper bound counts: a share that might reach min_gain is not below it.
  bool below_ceiling() {
    if (!ceiling_ || ceiling_->high >= options_.min_gain) return false;
    action_ = kExitKeep;
    kind_ = "default: allocation is no measured bottleneck";
    headline_ = fmt::format("Keep {}: allocation takes {} of CPU time, a change must gain {}.",
                            current_, percent(ceiling_->median), percent(options_.min_gain));
    reasons_.push_back(fmt::format(
        "Even an allocator that took no time at all would save at most {} of CPU time (upper bound "
        "of the 95% interval), less than the {} asked for.",
        percent(ceiling_->high), percent(options_.min_gain)));
    if (waiting() >= kWaiting) {
      doubts_.push_back(fmt::format(
          "threads were asleep for {} of the time in timed calls: see what --goal tail says",
          percent(waiting())));
    }
    if (field_ && !field_->candidates.empty()) {
      const Candidate& best = field_->candidates.front();
      reasons_.push_back(fmt::format("{} {} {}: {} CPU time.", best.name, field_->source,
                                     ratio_words(best.ratio), change_words(best.ratio.median)));
    }
    return true;
  }

  Json harden() {
    kind_ = "hardened: safety was asked for";
    for (const Candidate& candidate : field_->candidates) {
      const bool hardened = std::any_of(std::begin(kHardenedNames), std::end(kHardenedNames),
                                        [&](const char* name) { return candidate.name == name; });
      if (!hardened) continue;
      note_candidate(candidate);
      reasons_.push_back(fmt::format("{} is built to stop misuse; it costs {} {} here.",
                                     candidate.name, change_words(candidate.ratio.median),
                                     title(field_->metric)));
      return recommend(candidate, fmt::format("Use {}, the hardened one: {} {} than {}.",
                                              candidate.name, change_words(candidate.ratio.median),
                                              title(field_->metric), current_));
    }
    return settle(kExitInconclusive,
                  "no hardened allocator was among those that ran; install scudo "
                  "or name one with --alloc");
  }

  bool too_dear(const Candidate& candidate) const {
    return candidate.other && candidate.other->median > 1 + options_.max_cost;
  }

  // Whether it may gain min_gain for all that was measured: by the end of its interval, or where
  // the noise of the machine is wider, by that.
  bool may_gain(const Candidate& candidate) const {
    const double reach = std::min(candidate.ratio.low, candidate.ratio.median - field_->noise);
    return 1 - reach >= options_.min_gain;
  }

  bool qualifies(const Candidate& candidate) const {
    return candidate.gain() >= options_.min_gain && candidate.ratio.high < 1 &&
           candidate.gain() > field_->noise;
  }

  void note_candidate(const Candidate& candidate) {
    evidence(fmt::format("{} over {}, {}", candidate.name, current_, title(field_->metric)),
             fmt::format("{:.3f}", candidate.ratio.median),
             fmt::format("95% interval {:.3f} to {:.3f}, {} runs each, {}", candidate.ratio.low,
                         candidate.ratio.high, field_->runs, field_->source));
    note_prediction(candidate);
    if (candidate.other) {
      evidence(fmt::format("{} over {}, {}", candidate.name, current_,
                           title(other_metric(options_.goal))),
               fmt::format("{:.3f}", candidate.other->median),
               fmt::format("95% interval {:.3f} to {:.3f}", candidate.other->low,
                           candidate.other->high));
    }
  }

  // Steps 3 to 5.
  Json choose() {
    if (field_->candidates.empty()) {
      return settle(kExitInconclusive, "no other allocator could be measured");
    }
    evidence("noise of the machine", percent(field_->noise),
             fmt::format("{} against itself", field_->baseline));
    std::vector<const Candidate*> good;
    for (const Candidate& candidate : field_->candidates) {
      if (!qualifies(candidate)) continue;
      if (too_dear(candidate)) {
        reasons_.push_back(fmt::format("{} has {} {}, but {} {}.", candidate.name,
                                       change_words(candidate.ratio.median), title(field_->metric),
                                       change_words(candidate.other->median),
                                       title(other_metric(options_.goal))));
        continue;
      }
      good.push_back(&candidate);
    }
    if (good.empty()) return stay();
    // Within the best one's interval they are equal in this goal: the other resource decides.
    const Candidate* best = good.front();
    for (const Candidate* candidate : good) {
      if (candidate->ratio.median <= good.front()->ratio.high && candidate->other && best->other &&
          candidate->other->high < best->other->low) {
        best = candidate;
      }
    }
    note_candidate(*best);
    if (const std::string little = too_little(*best); !little.empty()) {
      return keep_simple(fmt::format("Keep {}: {} gains {}, but that is {}.", current_, best->name,
                                     percent(best->gain()), little),
                         "Less than what loading one more library takes: the system's own, which "
                         "is there already, is the smaller and simpler choice.");
    }
    kind_ = kind_of_switch();
    if (best != good.front()) {
      reasons_.push_back(
          fmt::format("{} is no worse than {} beyond its interval, and needs less {}.", best->name,
                      good.front()->name, title(other_metric(options_.goal))));
    }
    reasons_.push_back(fmt::format("{} gains {} {}, beyond the {} asked for and the noise of {}.",
                                   best->name, percent(best->gain()), field_->source,
                                   percent(options_.min_gain), percent(field_->noise)));
    if (options_.goal == Goal::kCpu && ceiling_ && 1 - best->ratio.high > ceiling_->high) {
      reasons_.push_back(
          "That is more than the allocator's own share of the time: the program "
          "itself runs faster on how this one places blocks.");
    }
    if (document_.contains("comparison")) {
      reasons_.push_back("Confirmed on the program itself.");
    } else {
      doubts_.push_back("from a replay alone: confirm with carrel compare -- CMD");
    }
    std::string headline = fmt::format("Use {}: {} {}", best->name,
                                       change_words(best->ratio.median), title(field_->metric));
    if (best->other && std::fabs(best->other->median - 1) >= kWorthNaming) {
      headline += fmt::format(" and {} {}", change_words(best->other->median),
                              title(other_metric(options_.goal)));
    }
    return recommend(*best, fmt::format("{} than {}.", headline, current_));
  }

  std::string kind_of_switch() const {
    switch (options_.goal) {
      case Goal::kRss:
        return "one that gives memory back: resident memory is the trouble";
      case Goal::kTail:
        return "fast, thread-caching: the slowest calls are the trouble";
      case Goal::kCpu:
        break;
    }
    return waiting() >= kWaiting ? "fast, thread-caching: threads wait in the allocator"
                                 : "fast, thread-caching: allocation is a measured cost";
  }

  // Share of the time in timed calls that threads slept in, as they do for a lock; 0 if unknown.
  double waiting() const {
    return document_.contains("cpu") ? document_.at("cpu").value("sleeping_time", 0.0) : 0;
  }

  // What a run would save over the system's allocator, in words, when that is too little to be
  // worth a library; else empty.
  std::string too_little(const Candidate& candidate) const {
    if (field_->baseline != kSystem || !field_->baseline_value || options_.goal == Goal::kTail ||
        !document_.contains("comparison")) {
      return {};
    }
    const double saved = *field_->baseline_value * candidate.gain();
    if (options_.goal == Goal::kCpu && saved < kLeastSaved_s) {
      return fmt::format("{:.2f} ms of CPU time a run", saved * 1e3);
    }
    if (options_.goal == Goal::kRss && saved < kLeastSaved_bytes) {
      return fmt::format("{:.0f} KiB a run", saved / 1024);
    }
    return {};
  }

  Json keep_simple(const std::string& headline, const std::string& reason) {
    action_ = kExitKeep;
    kind_ = kSystemKind;
    headline_ = headline;
    reasons_.push_back(reason);
    return finish();
  }

  // Another allocator is in use and gains nothing over the system's: that one would be simpler.
  void note_simpler() {
    for (const Candidate& candidate : field_->candidates) {
      const double room = 1 + std::max(options_.min_gain, field_->noise);
      if (candidate.name != kSystem || candidate.ratio.high > room ||
          (candidate.other && candidate.other->median > room)) {
        continue;
      }
      kind_ = kSystemKind;
      reasons_.push_back(
          fmt::format("The system's own does as well, {} {}: where size and simplicity rule, {} "
                      "can be left out.",
                      ratio_words(candidate.ratio), field_->source, current_));
    }
  }

  Json stay() {
    const Candidate& best = field_->candidates.front();
    note_candidate(best);
    // A gain that the intervals or the noise drown is unknown, not absent, whoever's it is. What
    // costs too much is out of the question either way.
    for (const Candidate& candidate : field_->candidates) {
      if (too_dear(candidate) || !may_gain(candidate)) continue;
      return settle(
          kExitInconclusive,
          fmt::format("{} at {} may gain {} and may not, the machine's noise is {}; run it longer, "
                      "more often (--runs) or on a quieter machine",
                      candidate.name, ratio_words(candidate.ratio), percent(options_.min_gain),
                      percent(field_->noise)));
    }
    action_ = kExitKeep;
    kind_ = current_ == kSystem ? kSystemKind : "default: no other is better by enough";
    headline_ =
        fmt::format("Keep {}: the best of {} others, {}, has {} {}; a change must gain {}.",
                    current_, field_->candidates.size(), best.name, change_words(best.ratio.median),
                    title(field_->metric), percent(options_.min_gain));
    if (qualifies(best)) {
      headline_ = fmt::format("Keep {}: what gains {} costs too much of the other resource.",
                              current_, title(field_->metric));
    }
    reasons_.push_back(
        fmt::format("{}: {} {}.", best.name, ratio_words(best.ratio), field_->source));
    if (current_ == kSystem) {
      reasons_.push_back(
          "Nothing is gained by one more library; the system's own is there already.");
    } else {
      note_simpler();
    }
    return finish();
  }

  Json recommend(const Candidate& candidate, const std::string& headline) {
    action_ = kExitSwitch;
    headline_ = headline;
    chosen_ = candidate.name;
    if (candidate.path.empty() || candidate.name == "glibc") {
      use_ = "without a preloaded allocator: the system's own";
    } else {
      std::string command;
      for (const Json& word : document_.at("program").at("command")) {
        command += " " + quoted(word.get<std::string>());
      }
      use_ = "LD_PRELOAD=" + candidate.path + command;
    }
    return finish();
  }

  Json settle(int action, const std::string& why) {
    action_ = action;
    headline_ = fmt::format("Inconclusive: {}.", why);
    return finish();
  }

  Json finish() {
    const char* word = action_ == kExitKeep     ? "keep"
                       : action_ == kExitSwitch ? "switch"
                                                : "inconclusive";
    Json out = {{"action", word},
                {"exit_code", action_},
                {"goal", goal_word(options_.goal)},
                {"min_gain", options_.min_gain},
                {"headline", headline_},
                {"current", current_},
                {"allocator", chosen_.empty() ? current_ : chosen_},
                {"kind", kind_},
                {"evidence", evidence_},
                {"reasons", reasons_},
                {"doubts", doubts_}};
    if (!use_.empty()) out["use"] = use_;
    return out;
  }

  const Json& document_;
  VerdictOptions options_;
  std::string current_;
  std::string chosen_;
  std::string headline_;
  std::string kind_ = "undecided";
  std::string use_;
  int action_ = kExitInconclusive;
  std::optional<Interval> ceiling_;
  std::optional<Field> field_;
  std::optional<Field> predicted_;
  bool faithful_ = false;
  Json evidence_ = Json::array();
  std::vector<std::string> reasons_;
  std::vector<std::string> doubts_;
};

}  // namespace

Json decide(const Json& document, const VerdictOptions& options) {
  return Decision(document, options).take();
}

std::string verdict_text(const Json& verdict) {
  std::string out = verdict.value("headline", "") + "\n\n";
  for (const Json& item : verdict.at("evidence")) {
    out += fmt::format("  {}: {}\n      {}\n", item.value("label", ""), item.value("value", ""),
                       item.value("basis", ""));
  }
  if (!verdict.at("evidence").empty()) out += "\n";
  for (const Json& reason : verdict.at("reasons")) out += reason.get<std::string>() + "\n";
  for (const Json& doubt : verdict.at("doubts")) {
    out += "Doubt: " + doubt.get<std::string>() + "\n";
  }
  if (verdict.contains("use")) out += "To use it: " + verdict.value("use", "") + "\n";
  return out;
}

}  // namespace carrel::tools
