// Finding and unpacking chunks.
#include "trace/chunk_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace carrel::tools {

using format::Bytes;
using format::ChunkHead;
using format::ChunkKind;

namespace {

constexpr std::uint32_t kLargestChunk = std::uint32_t{1} << 30;

}  // namespace

ChunkFile::ChunkFile(const std::filesystem::path& path) : name_(path.string()) {
  file_ = open(name_.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (file_ < 0 || fstat(file_, &status) != 0) {
    throw UserError("cannot read {}: {}; record a trace with carrel record", name_,
                    std::strerror(errno));
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
  format::FileHead head;
  if (!read_at(0, &head, sizeof(head)) ||
      std::memcmp(head.magic, format::kFileMagic, sizeof(head.magic)) != 0) {
    throw UserError("{} is no trace of carrel; carrel record -o FILE -- CMD makes one", name_);
  }
  if (head.version != format::kFileVersion) {
    throw UserError("{} has format {}, this carrel reads format {}; use the carrel that made it",
                    name_, head.version, format::kFileVersion);
  }
  if (!use_index()) walk();
}

ChunkFile::~ChunkFile() {
  if (file_ >= 0) close(file_);
}

bool ChunkFile::read_at(std::uint64_t offset, void* out, std::size_t size) const {
  char* at = static_cast<char*>(out);
  while (size > 0) {
    const ssize_t got = pread(file_, at, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    offset += static_cast<std::uint64_t>(got);
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

bool ChunkFile::read_head(std::uint64_t offset, ChunkHead& head) const {
  return read_at(offset, &head, sizeof(head)) && head.magic == format::kChunkMagic &&
         head.offset == offset && head.hash == format::head_hash(head) &&
         head.raw < kLargestChunk && head.stored < kLargestChunk;
}

bool ChunkFile::use_index() {
  format::FileTail tail;
  ChunkHead head;
  Bytes raw;
  if (size_ < sizeof(format::FileHead) + sizeof(tail) ||
      !read_at(size_ - sizeof(tail), &tail, sizeof(tail)) || tail.magic != format::kTailMagic ||
      !read_head(tail.index_offset, head) || head.kind != ChunkKind::kIndex || !read(head, raw) ||
      raw.size() % sizeof(ChunkHead) != 0) {
    return false;
  }
  chunks_.resize(raw.size() / sizeof(ChunkHead));
  std::memcpy(static_cast<void*>(chunks_.data()), raw.data(), raw.size());
  // Each entry is the head that stands where it says.
  for (const ChunkHead& entry : chunks_) {
    if (!read_head(entry.offset, head) || head.hash != entry.hash) {
      chunks_.clear();
      return false;
    }
  }
  indexed_ = true;
  return true;
}

void ChunkFile::walk() {
  std::uint64_t offset = sizeof(format::FileHead);
  ChunkHead head;
  while (offset < size_) {
    if (!read_head(offset, head) || offset + sizeof(head) + head.stored > size_) break;
    if (head.kind != ChunkKind::kIndex) chunks_.push_back(head);
    offset += sizeof(head) + head.stored;
  }
  missing_ = size_ - offset;
}

bool ChunkFile::read(const ChunkHead& head, Bytes& out) const {
  if (head.stored > size_ - head.offset - sizeof(head)) return false;  // read_head saw all of it
  Bytes stored(head.stored);
  if (!read_at(head.offset + sizeof(head), stored.data(), stored.size()) ||
      ZSTD_getFrameContentSize(stored.data(), stored.size()) != head.raw) {
    return false;
  }
  out.resize(head.raw);
  // The frame carries a checksum of its content, which this verifies.
  const std::size_t size = ZSTD_decompress(out.data(), out.size(), stored.data(), stored.size());
  return !ZSTD_isError(size) && size == out.size();
}

}  // namespace carrel::tools
