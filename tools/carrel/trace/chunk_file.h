// The chunks of a trace file: finds them, by the index or by walking, and unpacks them with their
// checks. What is in them is the reader's matter.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "trace/format.h"

namespace carrel::tools {

class ChunkFile {
 public:
  // Throws UserError when the file cannot be read or is no trace.
  explicit ChunkFile(const std::filesystem::path& path);
  ~ChunkFile();
  ChunkFile(const ChunkFile&) = delete;
  ChunkFile& operator=(const ChunkFile&) = delete;

  const std::vector<format::ChunkHead>& chunks() const { return chunks_; }
  std::uint64_t size() const { return size_; }
  // Bytes at the end that form no whole chunk.
  std::uint64_t missing() const { return missing_; }
  bool indexed() const { return indexed_; }

  // Unpacks a chunk; false when its check fails. Several threads may do so at once.
  bool read(const format::ChunkHead& head, format::Bytes& out) const;

 private:
  bool read_at(std::uint64_t offset, void* out, std::size_t size) const;
  bool read_head(std::uint64_t offset, format::ChunkHead& head) const;
  bool use_index();
  void walk();

  std::string name_;
  int file_ = -1;
  std::uint64_t size_ = 0;
  std::uint64_t missing_ = 0;
  bool indexed_ = false;
  std::vector<format::ChunkHead> chunks_;
};

}  // namespace carrel::tools
