// TraceWriter: one trace file, chunk by chunk. Every chunk is written whole with one call, so that
// what a kill leaves behind ends with at most one chunk cut short. One thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "trace/encode.h"
#include "trace/event.h"
#include "trace/format.h"

namespace carrel::tools {

// A point where the trace's clock and nanoseconds since the trace began are both known.
struct ClockPoint {
  std::uint64_t ticks = 0;
  std::uint64_t ns = 0;
};

class TraceWriter {
 public:
  // Throws UserError when the file cannot be made. The content of `info` is trace_json.h's matter.
  TraceWriter(const std::filesystem::path& path, const nlohmann::json& info);
  ~TraceWriter();
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;

  // Writes what the encoder holds as a chunk and empties it.
  void events(std::uint32_t thread, EventEncoder& encoder);
  void memory(std::span<const MemorySample> samples, ClockPoint point);
  void stacks(std::uint32_t first, const std::vector<std::vector<std::uint64_t>>& stacks);
  void modules(const std::vector<Module>& modules);
  // The end, the index and the tail. Nothing can be written afterwards.
  void finish(const nlohmann::json& end);

  std::uint64_t bytes() const { return offset_; }
  std::uint64_t raw_event_bytes() const { return raw_event_bytes_; }
  std::uint64_t event_count() const { return events_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  void chunk(format::ChunkKind kind, format::ChunkHead head, const format::Bytes& raw);
  void write(const void* data, std::size_t size);

  std::filesystem::path path_;
  int file_ = -1;
  void* compressor_ = nullptr;
  std::uint64_t offset_ = 0;
  std::uint64_t raw_event_bytes_ = 0;
  std::uint64_t events_ = 0;
  format::Bytes raw_, stored_;
  std::vector<format::ChunkHead> index_;
};

nlohmann::json to_json(const LibraryInfo& library);
LibraryInfo library_from_json(const nlohmann::json& json);

}  // namespace carrel::tools
