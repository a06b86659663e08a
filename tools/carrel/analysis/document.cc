// The analysis document: see the header. Which stacks are kept and how resident memory is split is
// decided here; counting is the Analyzer's work, naming that of Symbols.
#include "analysis/document.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>

#include "analysis/analyzer.h"
#include "analysis/stack_table.h"
#include "analysis/symbols.h"
#include "base/error.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "carrel/carrel.h"
#include "resident/live_at.h"
#include "resident/section.h"

namespace carrel::tools {

namespace {

constexpr std::size_t kMostStacks = 2500;
constexpr std::uint64_t kEventsBetweenLooks = 1 << 16;

double seconds(std::uint64_t ns) { return static_cast<double>(ns) / 1e9; }

std::string exit_words(const TraceInfo& info) {
  if (info.exit_signal != 0) {
    return fmt::format("ended by signal {} ({})", info.exit_signal, strsignal(info.exit_signal));
  }
  if (info.exit_code >= 0) return fmt::format("exited with status {}", info.exit_code);
  return "end not seen";
}

std::string utc(std::int64_t unix_ns) {
  const auto time = static_cast<std::time_t>(unix_ns / 1'000'000'000);
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(time));
}

Json program_section(const TraceInfo& info) {
  Json out = {{"command", info.command},
              {"executable", info.executable},
              {"seconds", seconds(info.duration_ns)},
              {"cpu_s", info.user_seconds + info.system_seconds},
              {"exit", exit_words(info)},
              {"threads", info.threads}};
  note_ending(out, info.exit_code, info.exit_signal);
  return out;
}

std::string trace_note(const TraceInfo& info, const ReadNotes& notes, bool stopped) {
  std::vector<std::string> parts;
  if (stopped) parts.emplace_back("analysis was interrupted: this covers its beginning only");
  if (!info.complete) parts.emplace_back("the recorder did not close it");
  if (info.truncated) parts.push_back("events are missing at the end: " + info.truncated_why);
  if (notes.damaged_chunks != 0) {
    parts.push_back(fmt::format("{} damaged chunks left out", notes.damaged_chunks));
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

Json provenance_section(const TraceInfo& info, const ReadNotes& notes,
                        const std::filesystem::path& trace, bool stopped) {
  const LibraryInfo& library = info.allocator;
  return {{"carrel", fmt::format("{}.{}.{}", CARREL_VERSION_MAJOR, CARREL_VERSION_MINOR,
                                 CARREL_VERSION_PATCH)},
          {"recorded_at", utc(info.started_unix_ns)},
          {"kernel", info.kernel},
          {"cpus", info.cpus},
          {"cpu_model", info.cpu_model},
          {"huge_pages", info.thp},
          {"page_bytes", sysconf(_SC_PAGESIZE)},
          {"allocator",
           {{"name", library.name},
            {"path", library.path},
            {"version", library.version},
            {"build_id", library.build_id}}},
          {"trace",
           {{"path", trace.filename().string()},
            {"events", info.events},
            {"bytes", info.file_size},
            {"stack_interval", info.stack_interval},
            {"complete", info.complete && !info.truncated && !stopped},
            {"note", trace_note(info, notes, stopped)}}}};
}

// What a block of the C library occupies beyond what was asked for: 8 bytes and rounding to 16, at
// least 32. Others round to their classes; carrel's and jemalloc's steps are a quarter of a
// doubling. Only an estimate, and labelled as one.
double rounding_share(const std::string& allocator, std::uint64_t size_bound) {
  const auto size = static_cast<double>(size_bound);
  if (allocator == "glibc")
    return (std::max(32.0, std::floor((size + 23) / 16) * 16) - size) / size;
  return size_bound <= 128 ? 0.06 : 0.1;
}

Json resident_section(const Analyzer& analyzer, const TraceInfo& info, const Json& sections) {
  const MemorySample& sample = analyzer.peak_rss_sample();
  const std::uint64_t live = analyzer.live_bytes_near(sample.time_ns);
  double rounding = 0;
  double bytes = 0;
  const Json& sizes = sections.at("sizes");
  for (std::size_t i = 0; i < kSizeBounds.size(); ++i) {
    const double class_bytes = sizes.at("bytes")[i].get<double>();
    rounding += class_bytes * rounding_share(info.allocator.name, kSizeBounds[i]);
    bytes += class_bytes;
  }
  rounding = bytes > 0 ? rounding / bytes * static_cast<double>(live) : 0;
  const auto rounded = static_cast<std::int64_t>(rounding);
  const auto anonymous = static_cast<std::int64_t>(sample.anon_bytes);
  const std::int64_t rest = anonymous - static_cast<std::int64_t>(live) - rounded;
  Json parts = Json::array();
  parts.push_back({{"label", "live, as requested"},
                   {"bytes", live},
                   {"basis", "trace: requested and not freed at that moment"}});
  parts.push_back({{"label", "rounding and headers"},
                   {"bytes", rounded},
                   {"basis", "estimate from the sizes requested over the whole run"}});
  parts.push_back({{"label", "files and code"},
                   {"bytes", sample.file_bytes},
                   {"basis", "kernel: resident pages of mapped files"}});
  // Negative when blocks were requested and never touched.
  return {{"at_s", seconds(sample.time_ns)},
          {"rss_bytes", sample.anon_bytes + sample.file_bytes},
          {"parts", parts},
          {"residue_bytes", rest},
          {"residue_is",
           "free memory the allocator keeps, its metadata, stacks and the program's "
           "own mappings; negative: requested memory that was never touched"}};
}

Json stack_json(Json frames, const StackNumbers& numbers) {
  return {{"frames", std::move(frames)},
          {"allocations", std::llround(numbers.allocations)},
          {"bytes", std::llround(numbers.bytes)},
          {"peak_bytes", std::llround(numbers.peak_bytes)},
          {"leaked_bytes", std::llround(numbers.live_bytes)},
          {"temporary", std::llround(numbers.temporary)}};
}

// Without its frames, which may yet become more.
Json stacks_section(TraceReader& reader, const Analyzer& analyzer, Symbols& symbols,
                    StackTable& table) {
  std::vector<std::pair<std::uint32_t, StackNumbers>> all(analyzer.stacks().begin(),
                                                          analyzer.stacks().end());
  StackNumbers sum;
  for (const auto& [number, n] : all) {
    sum.allocations += n.allocations;
    sum.bytes += n.bytes;
    sum.live_bytes += n.live_bytes;
    sum.peak_bytes += n.peak_bytes;
    sum.temporary += n.temporary;
  }
  const auto part = [](double value, double of) { return of > 0 ? value / of : 0; };
  // A stack matters when it is much of any measure.
  const auto weight = [&](const StackNumbers& n) {
    return std::max({part(n.allocations, sum.allocations), part(n.bytes, sum.bytes),
                     part(n.live_bytes, sum.live_bytes), part(n.peak_bytes, sum.peak_bytes),
                     part(n.temporary, sum.temporary)});
  };
  std::sort(all.begin(), all.end(), [&](const auto& a, const auto& b) {
    const double left = weight(a.second);
    const double right = weight(b.second);
    return left != right ? left > right : a.first < b.first;
  });
  Progress progress("naming call sites", static_cast<double>(std::min(all.size(), kMostStacks)));
  Json stacks = Json::array();
  double omitted_bytes = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i < kMostStacks) {
      Json frames = table.add(symbols, reader.stack(all[i].first));
      if (!frames.empty()) stacks.push_back(stack_json(std::move(frames), all[i].second));
      progress.at(static_cast<double>(i));
    } else {
      omitted_bytes += all[i].second.bytes;
    }
  }
  return {{"frames", Json::array()},
          {"stacks", std::move(stacks)},
          {"omitted_stacks", all.size() - std::min(all.size(), kMostStacks)},
          {"omitted_bytes", std::llround(omitted_bytes)}};
}

std::vector<LiveAt::Moment> moments_of(const std::vector<HeapPicture>& pictures) {
  std::vector<LiveAt::Moment> moments;
  for (const HeapPicture& picture : pictures) moments.push_back(picture.events);
  return moments;
}

}  // namespace

void note_ending(Json& program, int exit_code, int exit_signal) {
  TraceInfo ending;
  ending.exit_code = exit_code;
  ending.exit_signal = exit_signal;
  if (exit_code > 0 || exit_signal != 0) program["failed"] = exit_words(ending);
}

Json analyse(TraceReader& reader, const std::filesystem::path& trace,
             const std::vector<HeapPicture>& pictures) {
  reader.rewind();
  const TraceInfo& info = reader.info();
  Analyzer analyzer(info.stack_interval);
  LiveAt live_at(moments_of(pictures));
  bool stopped = false;
  {
    const InterruptibleStep step;
    Progress progress("reading events", static_cast<double>(info.events));
    Event event;
    std::uint64_t count = 0;
    while (reader.next(event)) {
      analyzer.add(event);
      if (!pictures.empty()) live_at.add(event);
      if (++count % kEventsBetweenLooks == 0) {
        progress.at(static_cast<double>(count));
        stopped = step.interrupted();
        if (stopped) break;
      }
    }
  }
  for (const MemorySample& sample : reader.memory()) analyzer.add(sample);
  analyzer.finish();
  Json document = {{"schema", kSchemaName}, {"version", kSchemaVersion}};
  document["program"] = program_section(info);
  document["provenance"] = provenance_section(info, reader.notes(), trace, stopped);
  const Json sections = analyzer.sections();
  document.update(sections);
  if (analyzer.peak_rss_bytes() != 0) {
    document["resident"] = resident_section(analyzer, info, sections);
  }
  Symbols symbols(reader.modules());
  StackTable table;
  if (info.has_stacks && !analyzer.stacks().empty()) {
    document["stacks"] = stacks_section(reader, analyzer, symbols, table);
  }
  // Where events are missing, nobody knows which blocks were live.
  const bool whole = !stopped && reader.notes().damaged_chunks == 0;
  for (std::size_t i = 0; whole && i < pictures.size(); ++i) {
    Json section =
        resident_json(account_for(pictures[i], live_at.blocks(i), info.stack_interval),
                      [&](std::uint32_t stack) { return table.add(symbols, reader.stack(stack)); });
    // The end may itself be the highest, or the only one. Within a tenth the one before it stands:
    // no closer are pictures taken.
    const std::uint64_t before = pictures[0].rss_bytes;
    const bool highest = i == 0 || pictures[i].rss_bytes > before + before / 10;
    if (highest) document["resident"] = section;
    if (pictures[i].at_end) document["resident_at_end"] = std::move(section);
  }
  if (document.contains("stacks")) document["stacks"]["frames"] = table.take_frames();
  return document;
}

Json read_document(const std::filesystem::path& place) {
  const std::filesystem::path file =
      std::filesystem::is_directory(place) ? place / kDocumentFile : place;
  std::ifstream in(file, std::ios::binary);
  if (!in) {
    throw UserError("cannot read {}: {}; carrel profile -o DIR -- CMD writes one", file.string(),
                    std::strerror(errno));
  }
  Json document = Json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded() || !document.is_object() ||
      document.value("schema", "") != kSchemaName) {
    throw UserError("{} is no analysis document; give a folder of carrel profile, or its {}",
                    file.string(), kDocumentFile);
  }
  if (document.value("version", 0) != kSchemaVersion) {
    throw UserError(
        "{} has version {} of the analysis document, this program reads {}; use the "
        "carrel that wrote it",
        file.string(), document.value("version", 0), kSchemaVersion);
  }
  for (const char* section :
       {"program", "provenance", "totals", "timeline", "sizes", "size_lifetime", "threads"}) {
    if (!document.contains(section)) {
      throw UserError("{} lacks its section '{}'; write it again with carrel profile",
                      file.string(), section);
    }
  }
  return document;
}

void write_file(const std::string& text, const std::filesystem::path& file) {
  std::error_code unknown;
  // What is no file, such as a pipe or a device, is written to, not replaced.
  const bool special =
      std::filesystem::exists(file, unknown) && !std::filesystem::is_regular_file(file, unknown);
  std::filesystem::path fresh = file;
  if (!special) fresh += ".new";
  std::ofstream out(fresh, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  std::error_code error;
  if (out && !special) std::filesystem::rename(fresh, file, error);
  if (!out || error) {
    const std::string why = error ? error.message() : std::strerror(errno);
    if (!special) std::filesystem::remove(fresh, error);
    throw UserError("cannot write {}: {}; choose another place", file.string(), why);
  }
}

void write_output(const std::string& text, const std::string& place) {
  if (!place.empty() && place != "-") return write_file(text, place);
  std::fwrite(text.data(), 1, text.size(), stdout);
}

void write_document(const Json& document, const std::filesystem::path& file) {
  // Names of files and functions may be in any encoding; JSON is UTF-8.
  write_file(document.dump(1, ' ', false, Json::error_handler_t::replace) + "\n", file);
}

}  // namespace carrel::tools
