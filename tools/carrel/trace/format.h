// The trace file, byte by byte. Little-endian; the same machine kind reads what it wrote.
//
//   FileHead, then chunks: ChunkHead, then `stored` bytes, a zstd frame with its own checksum of
//   `raw` bytes. Kinds:
//     kInfo     JSON: the process, the machine, the allocator. First chunk.
//     kEvents   some events of one thread; needs no other chunk to be understood
//     kMemory   memory samples          kStacks  stacks, numbered on from the chunk's `first`
//     kModules  JSON: mapped files      kEnd     JSON: how it ended, the totals
//     kIndex    a ChunkHead-sized entry for every chunk before it; last, followed by FileTail
//
// After a kill there is no kIndex: a reader walks from head to head. A head is checked by its own
// hash, so that half a head is not taken for one.
//
// Events of a chunk are columns, each preceded by its length: tags, numbers, addresses, times.
// A tag is an Op or a code of below, and a hint in its upper bits. Sizes and numbers are varints.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace carrel::tools::format {

inline constexpr char kFileMagic[8] = {'C', 'R', 'L', 'T', 'R', 'A', 'C', 'E'};
inline constexpr std::uint32_t kFileVersion = 1;
inline constexpr std::uint32_t kChunkMagic = 0x4b4c5243;  // "CRLK"
inline constexpr std::uint64_t kTailMagic = 0x444e454c5243ull;

enum class ChunkKind : std::uint32_t {
  kInfo = 1,
  kEvents,
  kMemory,
  kStacks,
  kModules,
  kEnd,
  kIndex
};

struct FileHead {
  char magic[8];
  std::uint32_t version;
  std::uint32_t reserved;
};

struct ChunkHead {
  std::uint32_t magic;
  ChunkKind kind;
  std::uint32_t thread;  // kEvents
  std::uint32_t events;  // kEvents, kMemory, kStacks: how many
  std::uint64_t first;   // kEvents: clock at the first and the last event; kStacks: first number
  std::uint64_t last;
  std::uint32_t raw;
  std::uint32_t stored;
  std::uint64_t offset;  // of this head in the file
  std::uint64_t hash;    // of the fields above
};

struct FileTail {
  std::uint64_t index_offset;
  std::uint64_t magic;
};

std::uint64_t head_hash(const ChunkHead& head);

// Tags beside those of Op (5 bits).
inline constexpr unsigned kTagStack = 27;   // the next beginning has the stack whose number follows
inline constexpr unsigned kTagTime = 28;    // the clock, for the events that follow
inline constexpr unsigned kTagParent = 30;  // reserved
inline constexpr unsigned kTagMask = 31;
// Hints, bits 5 to 7.
inline constexpr unsigned kHintExplicit = 0;   // the address column has it, in units of 8 bytes
inline constexpr unsigned kHintPredicted = 1;  // it is what the model expects
inline constexpr unsigned kHintUnaligned = 2;  // the address column has it, in bytes
inline constexpr unsigned kHintNull = 3;       // it is null

using Bytes = std::vector<std::uint8_t>;

inline void put_varint(Bytes& out, std::uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<std::uint8_t>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<std::uint8_t>(value));
}

// Throws std::runtime_error past the end: a chunk whose checksum is right is never cut short.
inline std::uint64_t get_varint(const std::uint8_t*& at, const std::uint8_t* end) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (at == end) break;
    const std::uint8_t byte = *at++;
    value |= std::uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
  throw std::runtime_error("a number in the trace is cut short");
}

inline std::uint64_t zigzag(std::int64_t value) {
  return (static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63);
}
inline std::int64_t unzigzag(std::uint64_t value) {
  return static_cast<std::int64_t>(value >> 1) ^ -static_cast<std::int64_t>(value & 1);
}

// What an allocator that reuses the last freed block first would do: which address a beginning of
// some size is expected at. Writer and reader run the same model, fresh in every chunk.
class AddressModel {
 public:
  AddressModel() { reset(); }
  void reset();

  std::uint64_t expect_begin(std::uint64_t size) const {
    const Stack& stack = stacks_[class_of(size)];
    return stack.address[stack.top % kDepth];
  }
  std::uint64_t expect_end() const { return last_begin_; }

  void began(std::uint64_t address, std::uint64_t size) {
    Stack& stack = stacks_[class_of(size)];
    std::uint64_t& top = stack.address[stack.top % kDepth];
    if (top == address) {
      top = 0;
      --stack.top;
    }
    last_begin_ = address;
    Known& known = known_[slot_of(address)];
    known.address = address;
    known.size_class = class_of(size);
  }

  void ended(std::uint64_t address) {
    Known& known = known_[slot_of(address)];
    if (known.address != address) return;
    Stack& stack = stacks_[known.size_class];
    ++stack.top;
    stack.address[stack.top % kDepth] = address;
  }

  // The last explicit addresses, of beginnings and ends apart: what the next is written against.
  std::uint64_t last[2] = {0, 0};

 private:
  static constexpr unsigned kDepth = 8;
  static constexpr unsigned kClasses = 128;
  static constexpr unsigned kKnown = 4096;
  struct Stack {
    std::uint32_t top;
    std::uint64_t address[kDepth];
  };
  struct Known {
    std::uint64_t address;
    std::uint32_t size_class;
  };

  static std::uint32_t class_of(std::uint64_t size) {
    if (size <= 1024) return static_cast<std::uint32_t>((size + 15) / 16);
    const unsigned log = 63 - static_cast<unsigned>(__builtin_clzll(size));
    return (65 + (log - 10)) % kClasses;
  }
  static std::size_t slot_of(std::uint64_t address) {
    return (address >> 4) * 0x9e3779b97f4a7c15 >> 52;
  }

  std::uint64_t last_begin_;
  Stack stacks_[kClasses];
  Known known_[kKnown];
};

}  // namespace carrel::tools::format
