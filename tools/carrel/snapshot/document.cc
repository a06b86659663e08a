// The document: its summary is made as JSON values, its list of spans as text, which may be long.
#include "snapshot/document.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

#include "base/files.h"
#include "base/machine.h"
#include "carrel/carrel.h"

namespace carrel::tools {

namespace {

constexpr std::size_t kMostCells = 8192;
constexpr std::size_t kMostLiveShown = 4;
constexpr char kZstdMagic[4] = {'\x28', '\xb5', '\x2f', '\xfd'};
constexpr int kLevel = 6;

std::string hex(std::uint64_t address) { return fmt::format("{:#x}", address); }

Json provenance(const LiveHeap& live, const HeapMap& map) {
  Json out = {{"carrel", fmt::format("{}.{}.{}", CARREL_VERSION_MAJOR, CARREL_VERSION_MINOR,
                                     CARREL_VERSION_PATCH)},
              {"taken_at", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)))},
              {"kernel", this_machine().kernel},
              {"library",
               {{"path", live.library()},
                {"version", live.version()},
                {"hardened", live.layout().hardened != 0}}},
              {"copied_bytes", map.copied_bytes},
              {"copy_ms", map.copy_s * 1e3},
              {"changed_slabs", map.changed_slabs},
              {"stray_blocks", map.stray_blocks},
              {"other_heaps", live.others()}};
  if (map.stopped_s > 0) out["stopped_ms"] = map.stopped_s * 1e3;
  return out;
}

Json totals(const Summary& sum) {
  return {{"heap_bytes", sum.heap_bytes},
          {"live_bytes", sum.live_bytes},
          {"live_blocks", sum.live_blocks},
          {"cached_bytes", sum.cached_bytes},
          {"slabs", sum.slabs},
          {"slab_bytes", sum.slab_bytes},
          {"free_slot_bytes", sum.free_slot_bytes},
          {"large_blocks", sum.large_blocks},
          {"large_bytes", sum.large_bytes},
          {"guarded_blocks", sum.guarded_blocks},
          {"guarded_bytes", sum.guarded_bytes},
          {"free_bytes", sum.free_bytes}};
}

Json resident(const HeapMap& map, const Summary& sum) {
  Json parts = Json::array();
  for (const ResidentPart& part : sum.resident) {
    parts.push_back({{"label", part.label}, {"bytes", part.bytes}, {"basis", part.basis}});
  }
  return {
      {"rss_bytes", map.rss_bytes},
      {"parts", parts},
      {"residue_bytes", sum.residue_bytes},
      {"residue_is", "what changed between two looks, and pages of zeros that nobody wrote to"}};
}

Json classes(const HeapMap& map, const Summary& sum) {
  Json out = Json::array();
  for (const ClassSummary& of : sum.classes) {
    const SlotClass& info = map.classes[of.size_class];
    Json one = {{"class", of.size_class},        {"block_bytes", info.slot_bytes},
                {"slab_bytes", info.slab_bytes}, {"slabs", of.slabs},
                {"empty_slabs", of.empty_slabs}, {"slots", of.slots},
                {"live_blocks", of.live},        {"cached_blocks", of.cached},
                {"free_slots", of.free()},       {"occupancy", of.occupancy}};
    if (map.resident_known) {
      one["resident_bytes"] = of.resident_bytes;
      one["resident_free_bytes"] = of.resident_free;
    }
    out.push_back(std::move(one));
  }
  return out;
}

// The heap's granules in order, a few to a cell where they are many. What a cell is called is what
// most of its memory is; live and resident are shares of its bytes, in percent.
class Cells {
 public:
  explicit Cells(const HeapMap& map) : map_(map) {
    std::uint64_t granules = 0;
    for (const MappedSpan& span : map.spans) granules += span.granules;
    per_cell_ = std::max<std::uint64_t>(1, (granules + kMostCells - 1) / kMostCells);
    for (const MappedSpan& span : map.spans) add(span);
    if (filled_ != 0) close();
  }

  Json json() const {
    Json out = {{"granules_per_cell", per_cell_},
                {"first_granules", first_granules_},
                {"kinds", kinds_},
                {"live_percent", live_}};
    if (map_.resident_known) out["resident_percent"] = resident_;
    return out;
  }

 private:
  void add(const MappedSpan& span) {
    const auto granules = static_cast<double>(span.granules);
    const auto bytes = granules * static_cast<double>(map_.granule_bytes);
    double live = 0;
    if (span.kind == SpanKind::kLarge) live = static_cast<double>(span.block_bytes) / bytes;
    if (span.kind == SpanKind::kSlab) {
      live = span.live * static_cast<double>(map_.classes[span.size_class].slot_bytes) / bytes;
    }
    for (const GuardedBlock& block : span.guarded) {
      live += static_cast<double>(block.page_bytes) / bytes;
    }
    const double resident = static_cast<double>(span.resident_bytes) / bytes;
    for (std::uint64_t left = span.granules; left != 0;) {
      const std::uint64_t here = std::min(left, per_cell_ - filled_);
      const auto share = static_cast<double>(here);
      if (filled_ == 0) first_granules_.push_back(span.first + span.granules - left);
      of_kind_[static_cast<std::size_t>(span.kind)] += here;
      live_here_ += live * share;
      resident_here_ += resident * share;
      filled_ += here;
      left -= here;
      if (filled_ == per_cell_) close();
    }
  }

  void close() {
    const auto most = std::max_element(std::begin(of_kind_), std::end(of_kind_));
    const auto kind = static_cast<SpanKind>(most - std::begin(of_kind_));
    kinds_ += kind_name(kind)[0];  // f g k l s u
    const auto percent = [this](double share) {
      return static_cast<int>(100 * share / static_cast<double>(filled_) + 0.5);
    };
    live_.push_back(percent(live_here_));
    resident_.push_back(percent(resident_here_));
    std::fill(std::begin(of_kind_), std::end(of_kind_), 0);
    live_here_ = resident_here_ = 0;
    filled_ = 0;
  }

  const HeapMap& map_;
  std::uint64_t per_cell_ = 1;
  std::uint64_t filled_ = 0;
  std::uint64_t of_kind_[kSpanKinds] = {};
  double live_here_ = 0;
  double resident_here_ = 0;
  std::vector<std::uint64_t> first_granules_;
  std::string kinds_;
  std::vector<int> live_;
  std::vector<int> resident_;
};

Json worst(const HeapMap& map, const Summary& sum) {
  Json out = Json::array();
  for (const std::size_t number : sum.worst) {
    const MappedSpan& slab = map.spans[number];
    const std::uint64_t slot_bytes = map.classes[slab.size_class].slot_bytes;
    Json live = Json::array();
    for (std::uint32_t slot = 0; slot < slab.slots && live.size() < kMostLiveShown; ++slot) {
      if (slab.is_free(slot) || slab.is_cached(slot)) continue;
      live.push_back(hex(map.address(slab) + slot * slot_bytes));
    }
    out.push_back({{"address", hex(map.address(slab))},
                   {"owner", owner_name(slab)},
                   {"class", slab.size_class},
                   {"block_bytes", slot_bytes},
                   {"slots", slab.slots},
                   {"live_blocks", slab.live},
                   {"cached_blocks", slab.cached},
                   {"resident_bytes", slab.resident_bytes},
                   {"resident_free_bytes", slab.resident_free},
                   {"slot_states", slot_text(slab)},
                   {"first_live", live}});
  }
  return out;
}

// A span as an array: see schema.md.
void write_span(const MappedSpan& span, bool resident_known, std::string& out) {
  auto to = std::back_inserter(out);
  fmt::format_to(to, "[{},{},\"{}\",{}", span.first, span.granules, kind_name(span.kind),
                 resident_known ? std::to_string(span.resident_bytes) : "null");
  const bool arena = span.owner == Owner::kArena;
  if (span.kind == SpanKind::kLarge) {
    fmt::format_to(to, ",\"{}\",{},{}", arena ? owner_name(span) : "", span.block_start,
                   span.block_bytes);
  } else if (span.kind == SpanKind::kSlab) {
    fmt::format_to(to, ",\"{}\",{},\"{}\"", owner_name(span), span.size_class, slot_text(span));
  } else if (span.kind == SpanKind::kGuarded) {
    out += ",[";
    const char* separator = "";
    for (const GuardedBlock& block : span.guarded) {
      fmt::format_to(to, "{}[{},{}]", separator, block.start, block.bytes);
      separator = ",";
    }
    out += ']';
  }
  out += ']';
}

std::string decompressed(const std::string& text, const std::filesystem::path& file) {
  std::string out;
  ZSTD_DCtx* const context = ZSTD_createDCtx();
  std::vector<char> piece(ZSTD_DStreamOutSize());
  ZSTD_inBuffer in = {text.data(), text.size(), 0};
  std::size_t left = 1;
  while (in.pos < in.size) {
    ZSTD_outBuffer to = {piece.data(), piece.size(), 0};
    left = ZSTD_decompressStream(context, &to, &in);
    if (ZSTD_isError(left) != 0) break;
    out.append(piece.data(), to.pos);
  }
  ZSTD_freeDCtx(context);
  if (left != 0)
    throw UserError("{} is damaged or cut short; take the snapshot again", file.string());
  return out;
}

bool is_compressed(const std::string& text) {
  return text.starts_with(std::string_view(kZstdMagic, sizeof kZstdMagic));
}

}  // namespace

std::string snapshot_text(const LiveHeap& live, const HeapMap& map, const Summary& summary) {
  Json head = {{"schema", kSnapshotSchema},
               {"version", kSnapshotVersion},
               {"process",
                {{"pid", live.target().pid()},
                 {"name", live.target().name()},
                 {"command", live.target().command()}}},
               {"provenance", provenance(live, map)},
               {"heap",
                {{"base", hex(map.base)},
                 {"granule_bytes", map.granule_bytes},
                 {"page_bytes", Target::page_bytes()}}},
               {"totals", totals(summary)},
               {"classes", classes(map, summary)},
               {"map", Cells(map).json()},
               {"worst", worst(map, summary)}};
  if (map.resident_known) head["resident"] = resident(map, summary);
  std::string text = head.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.pop_back();  // the list goes on
  text += ",\"spans\":[";
  const char* separator = "\n";
  for (const MappedSpan& span : map.spans) {
    text += separator;
    write_span(span, map.resident_known, text);
    separator = ",\n";
  }
  text += "\n]}\n";
  return text;
}

std::size_t write_snapshot(const std::string& text, const std::filesystem::path& file) {
  if (file.extension() != ".zst") {
    write_file(text, file);
    return text.size();
  }
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  const std::size_t bytes =
      ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), kLevel);
  if (ZSTD_isError(bytes) != 0) throw UserError("cannot compress: {}", ZSTD_getErrorName(bytes));
  packed.resize(bytes);
  write_file(packed, file);
  return bytes;
}

bool is_snapshot(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) return false;
  std::ifstream in(file, std::ios::binary);
  std::string begin(64, '\0');
  in.read(begin.data(), static_cast<std::streamsize>(begin.size()));
  begin.resize(static_cast<std::size_t>(std::max<std::streamsize>(in.gcount(), 0)));
  return is_compressed(begin) || begin.find(kSnapshotSchema) != std::string::npos;
}

Json read_snapshot(const std::filesystem::path& file) {
  std::string text = text_of(file);
  if (is_compressed(text)) text = decompressed(text, file);
  const Json document = Json::parse(
      text,
      [](int depth, Json::parse_event_t event, const Json& value) {
        return !(depth == 1 && event == Json::parse_event_t::key && value == "spans");
      },
      false);
  if (!document.is_object() || document.value("schema", "") != kSnapshotSchema) {
    throw UserError("{} is no snapshot; carrel snapshot PID -o FILE writes one", file.string());
  }
  if (document.value("version", 0) != kSnapshotVersion) {
    throw UserError(
        "{} is a snapshot of version {}, this carrel knows {}; use the one that took it",
        file.string(), document.value("version", 0), kSnapshotVersion);
  }
  return document;
}

}  // namespace carrel::tools
