// The statistics as JSON and in Prometheus' format, and the function that offers all formats. The
// tables of fields in statistics.h say what there is; this file says how it looks.
#include "api/instance.h"
#include "api/statistics_writer.h"

namespace carrel::core {
namespace {

template <class Stats, std::size_t kFields>
void write_members(StatisticsWriter& out, const StatField<Stats> (&fields)[kFields],
                   const Stats& stats) {
  const char* separator = "";
  for (const auto& field : fields) {
    out << separator << "\"" << field.name << "\":" << stats.*field.member;
    separator = ",";
  }
}

template <class Stats, std::size_t kFields>
void write_objects(StatisticsWriter& out, const char* what,
                   const StatField<Stats> (&fields)[kFields], const Stats* rows, std::size_t count,
                   std::size_t first_number) {
  for (std::size_t row = 0; row < count; ++row) {
    out << (row == 0 ? "\n{\"" : ",\n{\"") << what << "\":" << std::uint64_t{row + first_number}
        << ",";
    write_members(out, fields, rows[row]);
    out << "}";
  }
}

/// In batches: the registry's lock is not held while something is written, which may allocate.
/// Threads that come or go meanwhile may be missed or counted twice.
void write_threads(StatisticsWriter& out) {
  constexpr std::size_t kBatch = 64;
  struct {
    std::uint32_t shard;
    std::size_t bytes;
  } batch[kBatch];
  const char* separator = "\n";
  for (std::size_t first = 0, seen = kBatch; seen == kBatch; first += kBatch) {
    std::size_t index = 0;
    seen = 0;
    process_heap.registry().for_each([&](const ThreadCache& cache) {
      if (index++ < first || seen == kBatch) return;
      batch[seen++] = {cache.shard, cached_bytes(cache)};
    });
    for (std::size_t i = 0; i < seen; ++i) {
      out << separator << "{\"shard\":" << std::uint64_t{batch[i].shard}
          << ",\"cached_bytes\":" << std::uint64_t{batch[i].bytes} << "}";
      separator = ",\n";
    }
  }
}

/// Calls visit(number, stats) for every arena.
template <class Visit>
void for_each_arena(Visit visit) {
  const ArenaReports* arenas = arena_reports.load(std::memory_order_acquire);
  if (arenas == nullptr) return;
  carrel_arena_stats stats;
  for (std::size_t number = 0; number < arenas->numbers(); ++number) {
    if (arenas->stats(number, stats)) visit(number, stats);
  }
}

void write_arenas(StatisticsWriter& out) {
  const char* separator = "\n";
  for_each_arena([&](std::size_t number, const carrel_arena_stats& stats) {
    out << separator << "{\"arena\":" << std::uint64_t{number} << ",";
    write_members(out, kArenaFields, stats);
    out << "}";
    separator = ",\n";
  });
}

void write_json(StatisticsWriter& out, const StatisticsSnapshot& snapshot) {
  out << "{\"schema\":\"carrel-statistics\",\"schema_version\":1,\"carrel_version\":\""
      << carrel_version() << "\",\n\"totals\":{";
  write_members(out, kStatFields, snapshot.totals);
  out << "},\n\"classes\":[";
  write_objects(out, "class", kClassFields, snapshot.classes, kClassCount, 1);
  out << "],\n\"shards\":[";
  write_objects(out, "shard", kShardFields, snapshot.shards, snapshot.shard_count, 0);
  out << "],\n\"threads\":[";
  write_threads(out);
  out << "],\n\"arenas\":[";
  write_arenas(out);
  out << "],\n\"options\":{";
  const char* separator = "";
  for (const OptionSpec& spec : kOptionTable) {
    const std::uint32_t value = process_heap.options().*spec.field;
    out << separator << "\"" << spec.key << "\":";
    if (spec.words == nullptr) {
      out << std::uint64_t{value};
    } else {
      out << "\"" << spec.words[value] << "\"";
    }
    separator = ",";
  }
  out << "}}\n";
}

/// A metric's name with what Prometheus wants to be told about it.
template <class Stats>
void write_heading(StatisticsWriter& out, const char* prefix, const StatField<Stats>& field) {
  const char* suffix = field.counts_up ? "_total" : "";
  out << "# HELP carrel_" << prefix << field.name << suffix << " " << field.meaning << "\n";
  out << "# TYPE carrel_" << prefix << field.name << suffix
      << (field.counts_up ? " counter\n" : " gauge\n");
}

template <class Stats>
void write_sample(StatisticsWriter& out, const char* prefix, const StatField<Stats>& field,
                  const char* label, std::size_t number, const Stats& stats) {
  out << "carrel_" << prefix << field.name << (field.counts_up ? "_total" : "");
  if (label != nullptr) out << "{" << label << "=\"" << std::uint64_t{number} << "\"}";
  out << " " << stats.*field.member << "\n";
}

/// One metric: its heading, then a sample a row.
template <class Stats>
void write_metric(StatisticsWriter& out, const char* prefix, const StatField<Stats>& field,
                  const char* label, const Stats* rows, std::size_t count,
                  std::size_t first_number) {
  write_heading(out, prefix, field);
  for (std::size_t row = 0; row < count; ++row) {
    write_sample(out, prefix, field, label, row + first_number, rows[row]);
  }
}

void write_prometheus(StatisticsWriter& out, const StatisticsSnapshot& snapshot) {
  for (const auto& field : kStatFields) {
    write_metric(out, "", field, nullptr, &snapshot.totals, 1, 0);
  }
  for (const auto& field : kClassFields) {
    write_metric(out, "class_", field, "class", snapshot.classes, kClassCount, 1);
  }
  for (const auto& field : kShardFields) {
    write_metric(out, "shard_", field, "shard", snapshot.shards, snapshot.shard_count, 0);
  }
  for (const auto& field : kArenaFields) {
    write_heading(out, "arena_", field);
    for_each_arena([&](std::size_t number, const carrel_arena_stats& stats) {
      write_sample(out, "arena_", field, "arena", number, stats);
    });
  }
}

}  // namespace
}  // namespace carrel::core

namespace core = carrel::core;

extern "C" carrel_result carrel_stats_print(carrel_format format,
                                            void (*write)(void* context, const char* text,
                                                          size_t size),
                                            void* context) {
  if (write == nullptr) return CARREL_BAD_ARGUMENT;
  if (format < CARREL_TEXT || format > CARREL_PROMETHEUS) return CARREL_OUT_OF_RANGE;
  const core::StatisticsSnapshot snapshot;
  core::StatisticsWriter out(write, context);
  switch (format) {
    case CARREL_TEXT:
      core::write_statistics_text(out, snapshot);
      break;
    case CARREL_JSON:
      core::write_json(out, snapshot);
      break;
    case CARREL_PROMETHEUS:
      core::write_prometheus(out, snapshot);
      break;
  }
  out.flush();
  return CARREL_OK;
}
