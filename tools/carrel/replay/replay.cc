// Running players and judging their results.
#include "replay/replay.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/machine.h"
#include "base/progress.h"
#include "base/temporary.h"
#include "launch/linked_in.h"
#include "launch/paths.h"
#include "launch/proof.h"
#include "launch/spawn.h"

namespace carrel::tools {

namespace fs = std::filesystem;
using plan::PlanHead;

namespace {

constexpr double kMebibyte = 1048576;

// The plan's file: removed at the end, whatever happens.
class PlanFile {
 public:
  PlanFile() = default;
  ~PlanFile() {
    if (head_ != nullptr) munmap(head_, head_->total_bytes);
  }
  PlanFile(const PlanFile&) = delete;
  PlanFile& operator=(const PlanFile&) = delete;

  const fs::path& path() const { return file_.path(); }

  void map() {
    const int fd = open(path().c_str(), O_RDWR | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) throw UserError("the plan is gone");
    void* const memory = mmap(nullptr, static_cast<std::size_t>(status.st_size),
                              PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory == MAP_FAILED) throw UserError("cannot map the plan: {}", std::strerror(errno));
    head_ = static_cast<PlanHead*>(memory);
  }

  // As it was before any player ran.
  void clear_results() {
    head_->done = 0;
    head_->refused = 0;
    head_->stall_ns = 0;
    head_->stalls = 0;
    head_->peak_live_bytes = 0;
    head_->calls_ns = 0;
    std::memset(static_cast<void*>(head_->malloc_path), 0, sizeof(head_->malloc_path));
    for (plan::Latency* latency : {&head_->malloc_latency, &head_->free_latency}) {
      for (auto& bucket : latency->bucket) bucket = 0;
    }
    char* const base = reinterpret_cast<char*>(head_);
    auto* const threads = reinterpret_cast<plan::PlanThread*>(base + head_->threads_offset);
    for (std::uint32_t i = 0; i < head_->threads; ++i) threads[i].live_bytes = 0;
    std::memset(base + head_->slots_offset, 0,
                (std::size_t{head_->slots} + head_->threads) * sizeof(void*));
  }
  const PlanHead& head() const { return *head_; }

 private:
  TemporaryFile file_{"plan"};
  PlanHead* head_ = nullptr;
};

struct Histogram {
  std::vector<std::uint64_t> buckets = std::vector<std::uint64_t>(kLatencyClasses);
  void add(const plan::Latency& latency) {
    for (std::size_t i = 0; i < kLatencyClasses; ++i) buckets[i] += latency.bucket[i];
  }
  std::vector<double> at(const std::vector<double>& quantiles, std::uint64_t clock_ns) const {
    std::uint64_t total = 0;
    for (const std::uint64_t bucket : buckets) total += bucket;
    std::vector<double> out;
    for (const double quantile : quantiles) {
      // A quantile beyond the last few calls would be one call's luck.
      if (static_cast<double>(total) * (1 - quantile) < 5) break;
      double left = quantile * static_cast<double>(total);
      std::size_t bucket = 0;
      while (bucket + 1 < kLatencyClasses && left > static_cast<double>(buckets[bucket])) {
        left -= static_cast<double>(buckets[bucket++]);
      }
      const double start = static_cast<double>(latency_floor(bucket));
      const double width = static_cast<double>(latency_floor(bucket + 1)) - start;
      const double share = buckets[bucket] == 0 ? 0 : left / static_cast<double>(buckets[bucket]);
      out.push_back(std::max(0.0, start + share * width - static_cast<double>(clock_ns)));
    }
    return out;
  }
};

// One arm of the experiment: an allocator, the baseline once more, or the allocator of nothing.
struct Arm {
  explicit Arm(Allocator which) : allocator(std::move(which)) {}

  Allocator allocator;
  std::map<std::string, std::vector<double>> values;
  Histogram malloc_latency;
  Histogram free_latency;
  std::uint64_t clock_ns = 0;
  std::uint64_t refused = 0;
  double peak_live = 0;
  std::string failed;
};

// Waits for a player; after Ctrl-C it is ended. True when it ended well.
bool finish(pid_t player, std::string& failed) {
  int status = 0;
  while (waitpid(player, &status, 0) < 0) {
    if (errno != EINTR) break;
    if (interrupted()) kill(player, SIGKILL);
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  failed = WIFSIGNALED(status)
               ? fmt::format("signal {} ended its replay", WTERMSIG(status))
               : fmt::format("its replay ended with status {}", WEXITSTATUS(status));
  return false;
}

void run_once(PlanFile& file, Arm& arm, const fs::path& player, bool nothing) {
  file.clear_results();
  const pid_t child = spawn({player.string(), file.path().string()}, environment_for(arm.allocator),
                            [] { prctl(PR_SET_PDEATHSIG, SIGKILL); });
  std::string failed;
  const bool well = finish(child, failed);
  if (interrupted()) return;
  const PlanHead& head = file.head();
  if (!well || head.done != 1) {
    arm.failed = failed.empty() ? "its replay gave no results" : failed;
    return;
  }
  if (!nothing && !is_of(arm.allocator, head.malloc_path)) {
    arm.failed = fmt::format("it did not take: malloc came from {}", head.malloc_path);
    return;
  }
  const auto add = [&arm](const char* metric, double value) {
    arm.values[metric].push_back(value);
  };
  add("wall_s", static_cast<double>(head.wall_ns) * 1e-9);
  add("cpu_s", static_cast<double>(head.user_ns + head.system_ns) * 1e-9);
  add("system_s", static_cast<double>(head.system_ns) * 1e-9);
  add("peak_rss_bytes", static_cast<double>(head.peak_rss_bytes));
  add("end_rss_bytes", static_cast<double>(head.end_rss_bytes));
  add("faults", static_cast<double>(head.minor_faults + head.major_faults));
  add("stall_s", static_cast<double>(head.stall_ns.load()) * 1e-9);
  add("calls_s", static_cast<double>(head.calls_ns.load()) * 1e-9);
  arm.malloc_latency.add(head.malloc_latency);
  arm.free_latency.add(head.free_latency);
  arm.clock_ns = head.clock_ns;
  arm.refused = std::max(arm.refused, head.refused);
  arm.peak_live = std::max(arm.peak_live, static_cast<double>(head.peak_live_bytes.load()));
}

const char* const kRatioMetrics[] = {"wall_s", "cpu_s", "peak_rss_bytes", "end_rss_bytes",
                                     "faults"};

void check_fidelity(ReplayResults& results, const TraceReader& reader, const Arm* recorded) {
  const TraceInfo& info = reader.info();
  if (is_linked_in(info.allocator.name)) {
    results.unfaithful_why = fmt::format(
        "the trace was recorded on {}, inside {}, which cannot be replayed: no fidelity is known",
        info.allocator.name, info.allocator.path);
    return;
  }
  if (recorded == nullptr || !recorded->failed.empty()) {
    results.unfaithful_why =
        fmt::format("the trace was recorded on {} ({}), which could not be replayed here",
                    info.allocator.name, info.allocator.path);
    return;
  }
  const auto check = [&results](std::string what, double seen, double replayed, double tolerance) {
    results.fidelity.push_back({std::move(what), "bytes", seen, replayed, tolerance,
                                std::abs(seen - replayed) <= tolerance});
  };
  const auto live = static_cast<double>(results.facts.peak_live_bytes);
  check("peak live bytes", live, recorded->peak_live, std::max(0.05 * live, 64 * 1024.0));
  const std::vector<MemorySample>& memory = reader.memory();
  if (memory.size() < 5) {
    results.unfaithful_why = "the recording is too short to hold its memory against the replay's";
    return;
  }
  std::uint64_t first = memory.front().anon_bytes;
  std::uint64_t peak = first;
  for (const MemorySample& sample : memory) peak = std::max(peak, sample.anon_bytes);
  const double growth = static_cast<double>(peak - first);
  check("peak resident memory above the start", growth,
        median(recorded->values.at("peak_rss_bytes")), std::max(0.2 * growth, 2 * kMebibyte));
  results.recorded_calls_s = median(recorded->values.at("calls_s"));
  results.faithful = results.faithful_memory = true;
  for (const FidelityCheck& one : results.fidelity) {
    if (one.ok) continue;
    // Less memory than the program had, with the same blocks: the rest is not the allocator's, as
    // where a program maps a heap of its own. The allocator's work is the same.
    results.faithful =
        results.faithful && &one != &results.fidelity.front() && one.replayed < one.recorded;
    results.faithful_memory = false;
    results.unfaithful_why = fmt::format(
        "{} was {:.1f} MiB when recorded and is {:.1f} MiB replayed on the same allocator: {}",
        one.what, one.recorded / kMebibyte, one.replayed / kMebibyte,
        results.faithful ? "the program holds memory beside the allocator's, so this says nothing "
                           "about peak RSS"
                         : "what the program does beside allocating matters too much");
  }
  if (info.truncated && results.faithful) {
    results.unfaithful_why = "the trace is truncated: " + info.truncated_why;
  }
}

// The recorded allocator's file is still the same: by build id where it has one.
bool is_recorded(const Allocator& allocator, const TraceInfo& info) {
  if (is_linked_in(info.allocator.name)) return false;
  if (allocator.is_system()) return info.allocator.name == "glibc";
  std::error_code error;
  if (fs::equivalent(allocator.library, info.allocator.path, error)) return true;
  const LibraryInfo library = describe(allocator);
  return !library.build_id.empty() && library.build_id == info.allocator.build_id;
}

Allocator recorded_allocator(const TraceInfo& info) {
  if (info.allocator.name == "glibc") return {"glibc", {}};
  return {info.allocator.name + " (recorded)", info.allocator.path};
}

}  // namespace

Interval ReplayResults::value(const ReplayedAllocator& one, const std::string& metric) const {
  const auto found = one.values.find(metric);
  return found == one.values.end() ? Interval{} : median_interval(found->second);
}

std::optional<Interval> ReplayResults::ratio(const ReplayedAllocator& one,
                                             const std::string& metric) const {
  const auto found = one.values.find(metric);
  const auto base = allocators.front().values.find(metric);
  if (found == one.values.end() || base == allocators.front().values.end() ||
      median(found->second) <= 0 || median(base->second) <= 0) {
    return std::nullopt;
  }
  return ratio_interval(found->second, base->second, true);
}

bool ReplayResults::differs(const ReplayedAllocator& one, const std::string& metric) const {
  const auto interval = ratio(one, metric);
  const auto found = noise.find(metric);
  const double half = found == noise.end() ? 0 : found->second;
  return interval && (interval->low > 1 + half || interval->high < 1 - half);
}

void ReplayResults::check_calls(double program_s) {
  // Shorter than this, and the clock's own cost decides.
  constexpr double kLeast_s = 0.002;
  if (recorded_calls_s <= 0 || program_s < kLeast_s) return;
  const double larger = std::max(program_s, recorded_calls_s);
  const double tolerance = larger * (1 - 1 / kCallsTolerance);
  const bool ok = std::abs(program_s - recorded_calls_s) <= tolerance;
  fidelity.push_back(
      {"time in the allocator's calls", "s", program_s, recorded_calls_s, tolerance, ok});
  if (ok || !faithful) return;
  faithful = false;
  unfaithful_why = fmt::format(
      "calls of the allocator took {:.1f} ms in the program and take {:.1f} ms replayed on the "
      "same "
      "allocator: where its blocks lie matters too much",
      program_s * 1e3, recorded_calls_s * 1e3);
}

nlohmann::ordered_json ReplayResults::json() const {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  nlohmann::ordered_json curves = nlohmann::ordered_json::array();
  for (const ReplayedAllocator& one : allocators) {
    nlohmann::ordered_json entry = {{"name", one.allocator.name},
                                    {"path", one.library.path},
                                    {"version", one.library.version},
                                    {"build_id", one.library.build_id}};
    if (!one.failed.empty()) {
      entry["failed"] = one.failed;
    } else {
      for (const auto& [metric, values] : one.values) {
        entry["metrics"][metric] = median_interval(values).json();
        entry["runs"][metric] = values;
      }
      for (const char* metric : kRatioMetrics) {
        if (const auto over = ratio(one, metric)) entry["ratios"][metric] = over->json();
      }
      entry["refused"] = one.refused;
      if (!one.malloc_ns.empty()) {
        curves.push_back(
            {{"allocator", one.allocator.name}, {"operation", "malloc"}, {"ns", one.malloc_ns}});
      }
      if (!one.free_ns.empty()) {
        curves.push_back(
            {{"allocator", one.allocator.name}, {"operation", "free"}, {"ns", one.free_ns}});
      }
    }
    list.push_back(entry);
  }
  nlohmann::ordered_json checks = nlohmann::ordered_json::array();
  for (const FidelityCheck& check : fidelity) {
    checks.push_back({{"what", check.what},
                      {"unit", check.unit},
                      {"recorded", check.recorded},
                      {"replayed", check.replayed},
                      {"tolerance", check.tolerance},
                      {"ok", check.ok}});
  }
  return {{"replay",
           {{"baseline", allocators.front().allocator.name},
            {"runs", runs},
            {"noise", noise},
            {"harness_cpu_s", harness_cpu_s},
            {"allocators", list}}},
          {"fidelity",
           {{"within", faithful},
            {"within_memory", faithful_memory},
            {"why_not", unfaithful_why},
            {"checks", checks}}},
          {"latency", {{"quantiles", quantiles}, {"curves", curves}}},
          {"plan",
           {{"ops", facts.ops},
            {"allocations", facts.allocations},
            {"threads", facts.threads},
            {"crossing", facts.crossing},
            {"peak_live_bytes", facts.peak_live_bytes},
            {"skipped", facts.skipped}}},
          {"machine", to_json(this_machine())}};
}

ReplayResults replay(const ReplayOptions& options) {
  catch_interrupts();
  TraceReader reader(options.trace);
  const fs::path player = own_file("carrel-player");
  const Allocator nothing{"nothing", own_file("libcarrel-nothing.so")};
  ReplayResults results;
  PlanFile file;
  {
    Progress progress("reading the trace", 1);
    results.facts = make_plan(reader, options.plan, file.path(),
                              [&progress](double share) { progress.at(share); });
  }
  file.map();
  std::vector<Arm> arms;
  for (const Allocator& allocator : options.allocators) arms.emplace_back(allocator);
  // What the trace was recorded on is replayed in any case: it tells how faithful the replay is.
  std::size_t recorded = arms.size();
  for (std::size_t i = 0; i < options.allocators.size(); ++i) {
    if (is_recorded(options.allocators[i], reader.info())) recorded = i;
  }
  std::error_code error;
  const Allocator original = recorded_allocator(reader.info());
  if (recorded == arms.size() && !is_linked_in(reader.info().allocator.name) &&
      (original.is_system() || fs::exists(original.library, error))) {
    arms.emplace_back(original);
  }
  const std::size_t again = arms.size();
  arms.emplace_back(options.allocators.front());
  const std::size_t harness = arms.size();
  arms.emplace_back(nothing);
  {
    Progress progress("replaying", options.runs * static_cast<double>(arms.size()));
    for (int round = 0; round < options.runs && !interrupted(); ++round) {
      for (std::size_t i = 0; i < arms.size() && !interrupted(); ++i) {
        // Every round begins with another one.
        const std::size_t turn = (i + static_cast<std::size_t>(round)) % arms.size();
        progress.at(
            static_cast<double>(round) * static_cast<double>(arms.size()) + static_cast<double>(i),
            arms[turn].allocator.name);
        if (arms[turn].failed.empty()) run_once(file, arms[turn], player, turn == harness);
      }
      if (!interrupted()) results.runs = round + 1;
    }
  }
  results.stopped = interrupted();
  // Only complete rounds: every allocator met the same moments.
  for (Arm& arm : arms) {
    for (auto& [metric, values] : arm.values) {
      values.resize(std::min(values.size(), static_cast<std::size_t>(results.runs)));
    }
  }
  if (results.runs == 0) throw UserError("interrupted before the first round was complete");
  if (!arms[harness].failed.empty()) {
    throw UserError("the replay itself does not run: {}", arms[harness].failed);
  }
  results.harness_cpu_s = median(arms[harness].values.at("cpu_s"));
  for (Arm& arm : arms) {
    for (double& value : arm.values["cpu_s"]) value = std::max(0.0, value - results.harness_cpu_s);
  }
  for (std::size_t i = 0; i < options.allocators.size(); ++i) {
    Arm& arm = arms[i];
    ReplayedAllocator one;
    one.allocator = arm.allocator;
    one.library = describe(arm.allocator);
    one.malloc_ns = arm.malloc_latency.at(results.quantiles, arm.clock_ns);
    one.free_ns = arm.free_latency.at(results.quantiles, arm.clock_ns);
    one.refused = arm.refused;
    one.peak_live_bytes = arm.peak_live;
    one.failed = arm.failed;
    if (arm.failed.empty()) one.values = arm.values;
    results.allocators.push_back(std::move(one));
  }
  if (arms[0].failed.empty() && arms[again].failed.empty()) {
    for (const char* metric : kRatioMetrics) {
      const auto same = ratio_interval(arms[again].values[metric], arms[0].values[metric], true);
      if (!same) continue;
      results.noise[metric] = std::max(std::abs(same->high - 1), std::abs(1 - same->low));
    }
  }
  check_fidelity(results, reader, recorded < again ? &arms[recorded] : nullptr);
  return results;
}

}  // namespace carrel::tools
