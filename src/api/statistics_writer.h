// What the forms of the statistics' output share: a writer that hands text on in pieces, and all
// figures at one moment. Internal to statistics_text.cc and statistics_formats.cc, which are two
// files so that a static program that only prints text links only that.
#pragma once

#include "api/statistics.h"
#include "base/text.h"

namespace carrel::core {

/// Collects text and hands it on in pieces.
class StatisticsWriter {
 public:
  using Write = void (*)(void* context, const char* text, std::size_t size);
  StatisticsWriter(Write write, void* context) : write_(write), context_(context) {}
  StatisticsWriter(const StatisticsWriter&) = delete;
  StatisticsWriter& operator=(const StatisticsWriter&) = delete;

  StatisticsWriter& operator<<(const char* text);
  StatisticsWriter& operator<<(std::uint64_t number);
  /// Right-aligned.
  StatisticsWriter& number(std::uint64_t value, std::size_t width);
  /// Left-aligned.
  StatisticsWriter& word(const char* text, std::size_t width);
  void flush();

 private:
  static constexpr std::size_t kFlushAt = 700;

  TextBuffer<1024> piece_;  // no single text is longer than the rest
  Write write_;
  void* context_;
};

/// Everything at one moment; some 9 KiB.
struct StatisticsSnapshot {
  carrel_stats totals;
  carrel_class_stats classes[kClassCount];
  carrel_shard_stats shards[kMaxShardsShown];
  std::size_t shard_count;

  StatisticsSnapshot();
};

void write_statistics_text(StatisticsWriter& out, const StatisticsSnapshot& snapshot);

}  // namespace carrel::core
