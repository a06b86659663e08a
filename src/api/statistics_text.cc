// The statistics as text for people; see statistics_writer.h. Nothing here allocates.
#include "api/instance.h"
#include "api/statistics_writer.h"

namespace carrel::core {

StatisticsWriter& StatisticsWriter::operator<<(const char* text) {
  if (piece_.size() > kFlushAt) flush();
  piece_ << text;
  return *this;
}

StatisticsWriter& StatisticsWriter::operator<<(std::uint64_t value) { return number(value, 0); }

StatisticsWriter& StatisticsWriter::number(std::uint64_t value, std::size_t width) {
  TextBuffer<24> digits;
  digits << value;
  for (std::size_t i = digits.size(); i < width; ++i) *this << " ";
  return *this << digits.data();
}

StatisticsWriter& StatisticsWriter::word(const char* text, std::size_t width) {
  *this << text;
  for (std::size_t i = TextView(text).size; i < width; ++i) *this << " ";
  return *this;
}

void StatisticsWriter::flush() {
  if (piece_.size() != 0) write_(context_, piece_.data(), piece_.size());
  piece_.clear();
}

StatisticsSnapshot::StatisticsSnapshot() : totals(), classes(), shards(), shard_count(0) {
  fill_stats(totals, true);
  carrel_stats_classes(classes, kClassCount);
  shard_count = carrel_stats_shards(shards, kMaxShardsShown);
  if (shard_count > kMaxShardsShown) shard_count = kMaxShardsShown;
}

namespace {

/// A table with a heading; rows for which `wanted` says no are left out.
template <class Stats, std::size_t kFields, class Wanted>
void write_rows(StatisticsWriter& out, const char* what, const StatField<Stats> (&fields)[kFields],
                const Stats* rows, std::size_t count, std::size_t first_number, Wanted wanted) {
  constexpr std::size_t kGap = 2;
  out << "\n";
  out.word(what, 6);
  for (const auto& field : fields) {
    for (std::size_t i = 0; i < kGap; ++i) out << " ";
    out << field.name;
  }
  out << "\n";
  for (std::size_t row = 0; row < count; ++row) {
    if (!wanted(rows[row])) continue;
    out.number(row + first_number, 6);
    for (const auto& field : fields) {
      out.number(rows[row].*field.member, TextView(field.name).size + kGap);
    }
    out << "\n";
  }
}

}  // namespace

void write_statistics_text(StatisticsWriter& out, const StatisticsSnapshot& snapshot) {
  out << "carrel " << carrel_version() << " statistics\n";
  for (const auto& field : kStatFields) {
    out << "  ";
    out.word(field.name, 24).number(snapshot.totals.*field.member, 16);
    out << "  " << field.meaning << "\n";
  }
  write_rows(out, "class", kClassFields, snapshot.classes, kClassCount, 1,
             [](const carrel_class_stats& row) { return row.slabs + row.refills != 0; });
  write_rows(out, "shard", kShardFields, snapshot.shards, snapshot.shard_count, 0,
             [](const carrel_shard_stats&) { return true; });
}

void print_statistics() {
  StatisticsWriter out(
      [](void*, const char* text, std::size_t size) { ProcessOs::write_stderr(text, size); },
      nullptr);
  write_statistics_text(out, StatisticsSnapshot());
  out.flush();
}

}  // namespace carrel::core
