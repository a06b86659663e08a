// Fuzzing of trace files: whatever the bytes are, reading them ends, and the only complaint is one
// for the user (UserError). Bytes are either a file as it is, or the contents of chunks, which are
// then packed and sealed as the recorder does it: a checksum keeps no one from writing nonsense.
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/error.h"
#include "trace/format.h"
#include "trace/trace_reader.h"

namespace {

using namespace carrel::tools;
using format::Bytes;
using format::ChunkHead;

constexpr std::uint64_t kMostEvents = 100'000;

struct Input {
  const std::uint8_t* data;
  std::size_t left;
  std::uint64_t number(unsigned bytes) {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < bytes && left != 0; ++i, --left) {
      value |= std::uint64_t{*data++} << 8 * i;
    }
    return value;
  }
};

void append(Bytes& file, const void* data, std::size_t size) {
  const auto* bytes = static_cast<const std::uint8_t*>(data);
  file.insert(file.end(), bytes, bytes + size);
}

/// Appends a chunk; `head` says what kind.
ChunkHead seal(Bytes& file, ChunkHead head, const std::uint8_t* data, std::size_t size) {
  Bytes stored(ZSTD_compressBound(size));
  stored.resize(ZSTD_compress(stored.data(), stored.size(), data, size, 1));
  head.magic = format::kChunkMagic;
  head.raw = static_cast<std::uint32_t>(size);
  head.stored = static_cast<std::uint32_t>(stored.size());
  head.offset = file.size();
  head.hash = format::head_hash(head);
  append(file, &head, sizeof head);
  append(file, stored.data(), stored.size());
  return head;
}

Bytes packed(Input input) {
  Bytes file;
  const bool indexed = input.number(1) % 2 != 0;
  format::FileHead start{};
  std::memcpy(start.magic, format::kFileMagic, sizeof start.magic);
  start.version = format::kFileVersion;
  append(file, &start, sizeof start);
  Bytes index;
  const std::string info = R"({"clock_base":1000,"ticks_per_ns":2.5,"command":["a"]})";
  const auto* text = reinterpret_cast<const std::uint8_t*>(info.data());
  ChunkHead first{};
  first.kind = format::ChunkKind::kInfo;
  first = seal(file, first, text, info.size());
  append(index, &first, sizeof first);
  while (input.left != 0) {
    ChunkHead head{};
    const std::uint64_t how = input.number(1);
    head.kind = static_cast<format::ChunkKind>(how % 8);
    head.thread = static_cast<std::uint32_t>(input.number(1));
    head.events = static_cast<std::uint32_t>(input.number(how & 8 ? 4 : 1));
    head.first = input.number(how & 16 ? 8 : 2);
    head.last = how & 32 ? input.number(8) : head.first + input.number(2);
    std::size_t size = static_cast<std::size_t>(input.number(1)) * (how & 64 ? 8 : 1);
    if (size > input.left) size = input.left;
    head = seal(file, head, input.data, size);
    input.data += size;
    input.left -= size;
    append(index, &head, sizeof head);
  }
  if (indexed) {
    ChunkHead head{};
    head.kind = format::ChunkKind::kIndex;
    format::FileTail tail{};
    tail.index_offset = file.size();
    tail.magic = format::kTailMagic;
    seal(file, head, index.data(), index.size());
    append(file, &tail, sizeof tail);
  }
  return file;
}

void read(const char* path) {
  TraceReader reader(path);
  for (int pass = 0; pass < 2; ++pass) {
    Event event;
    std::uint64_t last_ns = 0;
    for (std::uint64_t count = 0; count < kMostEvents && reader.next(event); ++count) {
      if (event.time_ns < last_ns) std::abort();  // time goes back
      last_ns = event.time_ns;
      std::uint64_t sum = 0;
      for (const std::uint64_t frame : reader.stack(event.stack)) sum += frame;
      if (sum == 1) std::abort();  // so that they are read
    }
    reader.rewind();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  Bytes file;
  if (data[0] % 4 == 0) {
    append(file, data + 1, size - 1);
  } else {
    file = packed({data + 1, size - 1});
  }
  const int memory = memfd_create("trace", MFD_CLOEXEC);
  if (memory < 0 || write(memory, file.data(), file.size()) != static_cast<ssize_t>(file.size())) {
    std::abort();
  }
  const std::string path = "/proc/self/fd/" + std::to_string(memory);
  try {
    read(path.c_str());
  } catch (const UserError&) {
  }
  close(memory);
  return 0;
}
