// Writing chunks.
#include "trace/trace_writer.h"

#include <fcntl.h>
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

// Fast rather than small: the recorder must keep up with the program on the same processors.
constexpr int kLevel = 1;

void put_json(Bytes& out, const nlohmann::json& json) {
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  out.assign(text.begin(), text.end());
}

}  // namespace

TraceWriter::TraceWriter(const std::filesystem::path& path, const nlohmann::json& info)
    : path_(path) {
  file_ = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file_ < 0) {
    throw UserError("cannot write {}: {}; choose another file with -o", path.string(),
                    std::strerror(errno));
  }
  ZSTD_CCtx* const compressor = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(compressor, ZSTD_c_compressionLevel, kLevel);
  ZSTD_CCtx_setParameter(compressor, ZSTD_c_checksumFlag, 1);
  compressor_ = compressor;
  format::FileHead head = {};
  std::memcpy(head.magic, format::kFileMagic, sizeof(head.magic));
  head.version = format::kFileVersion;
  write(&head, sizeof(head));
  put_json(raw_, info);
  chunk(ChunkKind::kInfo, {}, raw_);
}

TraceWriter::~TraceWriter() {
  if (file_ >= 0) close(file_);
  ZSTD_freeCCtx(static_cast<ZSTD_CCtx*>(compressor_));
}

void TraceWriter::write(const void* data, std::size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::write(file_, at, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      throw UserError("cannot write {}: {}; what was written before stays readable", path_.string(),
                      std::strerror(errno));
    }
    at += written;
    size -= static_cast<std::size_t>(written);
    offset_ += static_cast<std::uint64_t>(written);
  }
}

void TraceWriter::chunk(ChunkKind kind, ChunkHead head, const Bytes& raw) {
  stored_.resize(sizeof(head) + ZSTD_compressBound(raw.size()));
  const std::size_t size =
      ZSTD_compress2(static_cast<ZSTD_CCtx*>(compressor_), stored_.data() + sizeof(head),
                     stored_.size() - sizeof(head), raw.data(), raw.size());
  if (ZSTD_isError(size)) throw UserError("cannot compress: {}", ZSTD_getErrorName(size));
  head.magic = format::kChunkMagic;
  head.kind = kind;
  head.raw = static_cast<std::uint32_t>(raw.size());
  head.stored = static_cast<std::uint32_t>(size);
  head.offset = offset_;
  head.hash = format::head_hash(head);
  std::memcpy(stored_.data(), &head, sizeof(head));
  index_.push_back(head);
  write(stored_.data(), sizeof(head) + size);
}

void TraceWriter::events(std::uint32_t thread, EventEncoder& encoder) {
  if (encoder.events() == 0) return;
  ChunkHead head = {};
  head.thread = thread;
  head.events = encoder.events();
  head.first = encoder.first_ticks();
  head.last = encoder.last_ticks();
  encoder.finish(raw_);
  raw_event_bytes_ += raw_.size();
  events_ += head.events;
  chunk(ChunkKind::kEvents, head, raw_);
}

void TraceWriter::memory(std::span<const MemorySample> samples, ClockPoint point) {
  raw_.clear();
  format::put_varint(raw_, point.ticks);
  format::put_varint(raw_, point.ns);
  MemorySample last;
  for (const MemorySample& sample : samples) {
    format::put_varint(raw_, sample.time_ns - last.time_ns);
    format::put_varint(
        raw_, format::zigzag(static_cast<std::int64_t>(sample.anon_bytes - last.anon_bytes)));
    format::put_varint(
        raw_, format::zigzag(static_cast<std::int64_t>(sample.file_bytes - last.file_bytes)));
    last = sample;
  }
  ChunkHead head = {};
  head.events = static_cast<std::uint32_t>(samples.size());
  chunk(ChunkKind::kMemory, head, raw_);
}

void TraceWriter::stacks(std::uint32_t first,
                         const std::vector<std::vector<std::uint64_t>>& stacks) {
  raw_.clear();
  std::uint64_t last = 0;
  for (const std::vector<std::uint64_t>& stack : stacks) {
    format::put_varint(raw_, stack.size());
    for (const std::uint64_t pc : stack) {
      format::put_varint(raw_, format::zigzag(static_cast<std::int64_t>(pc - last)));
      last = pc;
    }
  }
  ChunkHead head = {};
  head.first = first;
  head.events = static_cast<std::uint32_t>(stacks.size());
  chunk(ChunkKind::kStacks, head, raw_);
}

void TraceWriter::modules(const std::vector<Module>& modules) {
  nlohmann::json list = nlohmann::json::array();
  for (const Module& module : modules) {
    list.push_back({{"begin", module.begin},
                    {"end", module.end},
                    {"offset", module.offset},
                    {"path", module.path},
                    {"build_id", module.build_id}});
  }
  put_json(raw_, list);
  chunk(ChunkKind::kModules, {}, raw_);
}

void TraceWriter::finish(const nlohmann::json& end) {
  put_json(raw_, end);
  chunk(ChunkKind::kEnd, {}, raw_);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(index_.data());
  raw_.assign(bytes, bytes + index_.size() * sizeof(ChunkHead));
  const format::FileTail tail = {offset_, format::kTailMagic};
  chunk(ChunkKind::kIndex, {}, raw_);
  write(&tail, sizeof(tail));
  close(file_);
  file_ = -1;
}

nlohmann::json to_json(const LibraryInfo& library) {
  return {{"name", library.name},
          {"path", library.path},
          {"build_id", library.build_id},
          {"version", library.version}};
}

LibraryInfo library_from_json(const nlohmann::json& json) {
  LibraryInfo library;
  library.name = json.value("name", "");
  library.path = json.value("path", "");
  library.build_id = json.value("build_id", "");
  library.version = json.value("version", "");
  return library;
}

}  // namespace carrel::tools
