// carrel trace: looks at a trace file, cuts it, takes names out of it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>

#include "analysis/analyzer.h"
#include "base/error.h"
#include "cli/command.h"
#include "trace/rewrite.h"
#include "trace/trace_reader.h"

namespace carrel::tools {
namespace {

struct Options {
  std::string input;
  std::string output;
  double from_seconds = 0;
  double to_seconds = 0;
  bool json = false;
  bool events = false;
};

// What a walk over all events adds to the facts.
struct Count {
  std::array<std::uint64_t, 32> ops = {};
  Analyzer analyzer;
};

void count(TraceReader& reader, Count& count) {
  Event event;
  while (reader.next(event)) {
    ++count.ops[static_cast<unsigned>(event.op)];
    count.analyzer.add(event);
  }
  for (const MemorySample& sample : reader.memory()) count.analyzer.add(sample);
  count.analyzer.finish();
}

nlohmann::json to_json(const TraceReader& reader, const Count& count) {
  const TraceInfo& info = reader.info();
  const ReadNotes& notes = reader.notes();
  nlohmann::json ops;
  for (unsigned op = 0; op < count.ops.size(); ++op) {
    if (count.ops[op] != 0) ops[std::string(op_name(static_cast<Op>(op)))] = count.ops[op];
  }
  const Totals& totals = count.analyzer.totals();
  const double events = info.events == 0 ? 1 : static_cast<double>(info.events);
  return {{"command", info.command},
          {"executable", info.executable},
          {"pid", info.pid},
          {"duration_seconds", static_cast<double>(info.duration_ns) * 1e-9},
          {"user_seconds", info.user_seconds},
          {"system_seconds", info.system_seconds},
          {"exit_code", info.exit_code},
          {"exit_signal", info.exit_signal},
          {"allocator",
           {{"name", info.allocator.name},
            {"path", info.allocator.path},
            {"build_id", info.allocator.build_id},
            {"version", info.allocator.version}}},
          {"kernel", info.kernel},
          {"thp", info.thp},
          {"cpus", info.cpus},
          {"cpu_model", info.cpu_model},
          {"complete", info.complete},
          {"truncated", info.truncated},
          {"truncated_why", info.truncated_why},
          {"anonymized", info.anonymized},
          {"events", info.events},
          {"threads", info.threads},
          {"bytes_per_event", static_cast<double>(info.file_size) / events},
          {"bytes_per_event_before_compression", static_cast<double>(info.raw_bytes) / events},
          {"file_bytes", info.file_size},
          {"waited_seconds", static_cast<double>(info.waited_ns) * 1e-9},
          {"stacks", reader.stack_count()},
          {"memory_samples", reader.memory().size()},
          {"peak_rss_bytes", count.analyzer.peak_rss_bytes()},
          {"ops", ops},
          {"objects", totals.allocations + totals.reallocations},
          {"live_objects_at_end", totals.live_blocks},
          {"live_bytes_at_end", totals.live_bytes},
          {"peak_live_bytes", totals.peak_live_bytes},
          {"peak_live_seconds", static_cast<double>(totals.peak_at_ns) * 1e-9},
          {"refused", totals.refused},
          {"crossing_objects", totals.cross_thread_frees},
          {"notes",
           {{"unknown_ends", notes.unknown_ends},
            {"lost_ends", notes.lost_ends},
            {"reordered", notes.reordered},
            {"damaged_chunks", notes.damaged_chunks},
            {"missing_bytes", notes.missing_bytes}}}};
}

std::string mib(std::uint64_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / 1048576);
}

void print(const nlohmann::json& facts) {
  const auto number = [&facts](const char* key) { return facts[key].get<std::uint64_t>(); };
  const auto real = [&facts](const char* key) { return facts[key].get<double>(); };
  fmt::print("program     {} (process {})\n",
             fmt::join(facts["command"].get<std::vector<std::string>>(), " "), number("pid"));
  fmt::print("allocator   {} {} {}\n", facts["allocator"]["name"].get<std::string>(),
             facts["allocator"]["version"].get<std::string>(),
             facts["allocator"]["path"].get<std::string>());
  fmt::print("machine     Linux {}, {} CPUs, {}, huge pages {}\n",
             facts["kernel"].get<std::string>(), number("cpus"),
             facts["cpu_model"].get<std::string>(), facts["thp"].get<std::string>());
  fmt::print("time        {:.3f} s; CPU {:.3f} s user, {:.3f} s system\n", real("duration_seconds"),
             real("user_seconds"), real("system_seconds"));
  if (facts["exit_signal"] != 0) {
    fmt::print("end         signal {}\n", facts["exit_signal"].get<int>());
  } else if (facts["exit_code"] != -1) {
    fmt::print("end         exit status {}\n", facts["exit_code"].get<int>());
  }
  fmt::print("events      {} of {} threads, {:.2f} bytes each ({:.2f} before compression)\n",
             number("events"), number("threads"), real("bytes_per_event"),
             real("bytes_per_event_before_compression"));
  for (const auto& [name, value] : facts["ops"].items()) {
    fmt::print("  {:<16} {}\n", name, value.get<std::uint64_t>());
  }
  fmt::print("objects     {}, of which {} were freed by another thread\n", number("objects"),
             number("crossing_objects"));
  fmt::print("live        peak {} after {:.3f} s; at the end {} in {} objects\n",
             mib(number("peak_live_bytes")), real("peak_live_seconds"),
             mib(number("live_bytes_at_end")), number("live_objects_at_end"));
  fmt::print("resident    peak {} in {} samples\n", mib(number("peak_rss_bytes")),
             number("memory_samples"));
  if (number("stacks") != 0) fmt::print("stacks      {}\n", number("stacks"));
  if (facts["truncated"].get<bool>()) {
    fmt::print("truncated   {}\n", facts["truncated_why"].get<std::string>());
  }
  for (const auto& [name, value] : facts["notes"].items()) {
    if (value != 0) fmt::print("note        {}: {}\n", name, value.get<std::uint64_t>());
  }
}

void print_events(TraceReader& reader) {
  Event event;
  while (reader.next(event)) {
    fmt::print("{:.6f} {} {}", static_cast<double>(event.time_ns) * 1e-9, event.thread,
               op_name(event.op));
    if (event.op >= Op::kThreadStart) {
      fmt::print(" {}\n", event.other == kNoThread ? "-" : std::to_string(event.other));
      continue;
    }
    fmt::print(" object={} size={} address={:#x}",
               event.object == kNoObject ? "-" : std::to_string(event.object), event.size,
               event.address);
    if (event.op == Op::kReallocBegin) fmt::print(" wanted={}", event.wanted);
    if (event.alignment != 0) fmt::print(" alignment={}", event.alignment);
    if (event.stack != 0) fmt::print(" stack={}", event.stack);
    fmt::print("\n");
  }
}

int run_info(const Options& options) {
  TraceReader reader(options.input);
  if (options.events) {
    print_events(reader);
    return kExitOk;
  }
  Count counted;
  count(reader, counted);
  const nlohmann::json facts = to_json(reader, counted);
  if (options.json) {
    fmt::print("{}\n", facts.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    print(facts);
  }
  return kExitOk;
}

int print_rewrite(const Options& options, const RewriteResult& result) {
  const nlohmann::json out = {{"input", options.input},
                              {"output", options.output},
                              {"events_read", result.read},
                              {"events_written", result.written},
                              {"events_made", result.made}};
  fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  return kExitOk;
}

int run_trim(const Options& options) {
  if (options.to_seconds != 0 && options.to_seconds <= options.from_seconds) {
    throw UsageError("--to must be later than --from");
  }
  const RewriteResult result =
      trim_trace(options.input, options.output, options.from_seconds, options.to_seconds);
  if (options.json) return print_rewrite(options, result);
  fmt::print(stderr, "carrel: {}: {} events out of {}; {} of them make what lived before\n",
             options.output, result.written, result.read, result.made);
  return kExitOk;
}

int run_anonymize(const Options& options) {
  const RewriteResult result = anonymize_trace(options.input, options.output);
  if (options.json) return print_rewrite(options, result);
  fmt::print(stderr, "carrel: {}: {} events, no command, paths, stacks or real addresses\n",
             options.output, result.written);
  return kExitOk;
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  auto chosen = std::make_shared<RunFunction>();
  command.require_subcommand(1);
  const auto add = [&](const char* name, const char* summary, int (*function)(const Options&)) {
    CLI::App* sub = command.add_subcommand(name, summary);
    sub->add_option("TRACE", options->input, "the trace")->required();
    sub->callback([options, chosen, function] {
      *chosen = [options, function] { return function(*options); };
    });
    return sub;
  };
  CLI::App* info = add("info", "what is in a trace, counted", run_info);
  info->add_flag("--json", options->json, "as JSON");
  info->add_flag("--events", options->events, "print every event instead, one a line");
  CLI::App* trim = add("trim", "keep a stretch of time", run_trim);
  trim->add_option("-o,--output", options->output, "the new trace")->required();
  trim->add_flag("--json", options->json, "print what was written as JSON");
  trim->add_option("--from", options->from_seconds, "seconds from the beginning")
      ->check(CLI::NonNegativeNumber);
  trim->add_option("--to", options->to_seconds, "seconds from the beginning; 0: to the end")
      ->check(CLI::NonNegativeNumber);
  CLI::App* anonymize =
      add("anonymize", "leave out what names the program and its machine", run_anonymize);
  anonymize->add_option("-o,--output", options->output, "the new trace")->required();
  anonymize->add_flag("--json", options->json, "print what was written as JSON");
  return [chosen] { return (*chosen)(); };
}

const Registration kRegistration{{80, "trace", "look at a trace, cut it, take names out of it",
                                  "carrel trace info t.crl", setup}};

}  // namespace
}  // namespace carrel::tools
