// Gathering: see the header.
#include "advise/gather.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <system_error>

#include "base/error.h"
#include "compare/table.h"
#include "record/recorder.h"

namespace carrel::tools {

namespace {

constexpr double kQuantiles[] = {0.5, 0.9, 0.99, 0.999, 0.9999};

// While it lives, what this process and its children print goes to /dev/null.
class Muted {
 public:
  explicit Muted(bool on) {
    if (!on) return;
    std::fflush(nullptr);
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (std::size_t i = 0; i < saved_.size() && nowhere >= 0; ++i) {
      saved_[i] = fcntl(kOutputs[i], F_DUPFD_CLOEXEC, 3);
      dup2(nowhere, kOutputs[i]);
    }
    if (nowhere >= 0) close(nowhere);
  }
  ~Muted() {
    for (std::size_t i = 0; i < saved_.size(); ++i) {
      if (saved_[i] < 0) continue;
      std::fflush(nullptr);
      dup2(saved_[i], kOutputs[i]);
      close(saved_[i]);
    }
  }
  Muted(const Muted&) = delete;
  Muted& operator=(const Muted&) = delete;

 private:
  static constexpr std::array<int, 2> kOutputs = {STDOUT_FILENO, STDERR_FILENO};
  std::array<int, 2> saved_ = {-1, -1};
};

Json curve(const std::string& allocator, const char* operation,
           const std::array<std::uint64_t, kLatencyClasses>& classes) {
  Json ns = Json::array();
  for (const double quantile : kQuantiles) ns.push_back(latency_quantile(classes, quantile));
  return {{"allocator", allocator}, {"operation", operation}, {"ns", ns}};
}

// Removes the other processes' traces and gives the kept one the name that was asked for.
std::filesystem::path keep_only(const RecordResult& result, const RecordedProcess& kept,
                                const std::filesystem::path& name) {
  std::error_code error;
  for (const RecordedProcess& process : result.processes) {
    if (process.file != kept.file) std::filesystem::remove(process.file, error);
  }
  if (kept.file == name) return name;
  std::filesystem::rename(kept.file, name, error);
  return error ? kept.file : name;
}

// Gives a process a folder beside the main one's files: process-PID, or process-PID.execN for what
// it was before it became another program.
OtherProcess keep_apart(const RecordedProcess& process, const std::filesystem::path& folder) {
  const std::string stem = process.file.stem().string();
  const std::size_t dot = stem.find('.');
  const std::string name =
      dot == std::string::npos ? std::to_string(process.pid) : stem.substr(dot + 1);
  OtherProcess other{process.pid, process.events, folder / ("process-" + name)};
  const std::filesystem::path trace = other.folder / process.file.filename();
  std::error_code error;
  std::filesystem::create_directories(other.folder, error);
  if (!error) std::filesystem::rename(process.file, trace, error);
  if (error) {
    throw UserError("cannot write {}: {}; choose another folder with -o", trace.string(),
                    error.message());
  }
  TraceReader reader(trace);
  write_document(analyse(reader, trace, process.pictures), other.folder / kDocumentFile);
  return other;
}

std::string count(double value) { return fmt::format("{:.0f}", value); }

}  // namespace

Gathered gather(const GatherOptions& options) {
  RecordOptions record_options;
  record_options.output = options.folder / "trace.crl";
  record_options.command = options.command;
  record_options.allocator = options.allocator;
  record_options.max_disk = options.max_disk;
  record_options.stacks = true;
  record_options.stack_interval = options.stack_interval;
  record_options.follow_fork = true;
  record_options.pictures = true;
  std::vector<std::string> said;
  record_options.say = [&](const std::string& line) { said.push_back(line); };
  const RecordResult result = [&] {
    const Muted muted(options.quiet);
    return record(record_options);
  }();
  for (const std::string& line : said) {
    if (options.say) options.say(line);
  }
  if (result.processes.empty()) {
    if (!result.stopped_why.empty())
      throw UserError("nothing was recorded: {}", result.stopped_why);
    throw UserError("the program never loaded the recording library; carrel doctor -- {} says why",
                    options.command.front());
  }
  const auto busiest = std::max_element(
      result.processes.begin(), result.processes.end(),
      [](const RecordedProcess& a, const RecordedProcess& b) { return a.events < b.events; });
  std::vector<OtherProcess> others;
  if (options.every_process) {
    for (const RecordedProcess& process : result.processes) {
      if (process.file == busiest->file || process.events == 0) continue;
      others.push_back(keep_apart(process, options.folder));
    }
    std::sort(others.begin(), others.end(),
              [](const OtherProcess& a, const OtherProcess& b) { return a.events > b.events; });
  }
  const std::filesystem::path trace = keep_only(result, *busiest, record_options.output);
  TraceReader reader(trace);
  Gathered gathered{analyse(reader, trace, busiest->pictures), trace, std::move(others)};
  if (result.processes.size() > 1 && options.say) {
    const std::vector<std::string>& words = reader.info().command;
    options.say(fmt::format("{} processes were recorded; {}: process {} ({}), with most events",
                            result.processes.size(),
                            options.every_process ? "the main analysis" : "analysed", busiest->pid,
                            words.empty() ? "?" : words.front()));
  }
  note_ending(gathered.document["program"], result.exit_code, result.exit_signal);
  return gathered;
}

void add_ceiling(Json& document, const Ceiling& ceiling, const std::string& allocator) {
  document["cpu"] = ceiling.json();
  add_call_sites(document, ceiling.sites);
  if (ceiling.timed == 0) return;
  document["latency"] = {{"quantiles", kQuantiles},
                         {"curves",
                          {curve(allocator, "allocation", ceiling.allocation_ns),
                           curve(allocator, "free", ceiling.free_ns)}}};
}

std::string overview(const Json& document) {
  const Json& totals = document.at("totals");
  const auto number = [&](const char* key) { return totals.value(key, 0.0); };
  const double allocations = std::max(1.0, number("allocations"));
  std::string out;
  const auto row = [&](const std::string& label, const std::string& value) {
    out += fmt::format("  {:<26}{}\n", label, value);
  };
  row("allocator", document.at("provenance").at("allocator").value("name", "?"));
  const std::string failed = document.at("program").value("failed", "");
  if (!failed.empty()) row("the program", failed);
  if (document.contains("cpu")) {
    const Json& share = document.at("cpu").at("in_allocator");
    row("CPU in the allocator",
        fmt::format("{} ({} to {}, {} samples)", percent(share.value("median", 0.0)),
                    percent(share.value("low", 0.0)), percent(share.value("high", 0.0)),
                    document.at("cpu").value("samples", 0)));
    if (const double watched = document.at("cpu").value("watched_calls", 0.0); watched != 0) {
      row("waits in the allocator",
          fmt::format("{} of the calls slept, {} of the time in all ({} calls watched)",
                      percent(document.at("cpu").value("sleeping_calls", 0.0), 2),
                      percent(document.at("cpu").value("sleeping_time", 0.0)), count(watched)));
    }
  }
  row("allocations", fmt::format("{} of {} in all", count(number("allocations")),
                                 metric_value("_bytes", number("allocated_bytes"))));
  row("peak live",
      fmt::format("{} in {} blocks at {:.2f} s", metric_value("_bytes", number("peak_live_bytes")),
                  count(number("peak_live_blocks")), number("peak_at_s")));
  if (totals.contains("peak_rss_bytes")) {
    row("peak RSS", metric_value("_bytes", number("peak_rss_bytes")));
  }
  row("temporary", percent(number("temporary") / allocations));
  row("freed by another thread", percent(number("cross_thread_frees") / allocations));
  row("live at the end",
      fmt::format("{} in {} blocks", metric_value("_bytes", number("leaked_bytes")),
                  count(number("leaked_blocks"))));
  return out;
}

}  // namespace carrel::tools
