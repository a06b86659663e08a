// Writes beyond a block: some bytes too far or too early, by memcpy and byte by byte. The block
// stands among others of its size, and all of them are freed afterwards. Harm was done if another
// block was changed, or if blocks that are allocated later are not what they should be.
#include "promise.h"

namespace {

enum class How { kCopy, kBytes };

/// Writes `count` bytes at `at` in `block`, which need not be inside it.
void write_at(char* block, std::ptrdiff_t at, std::size_t count, How how, char value) {
  char* target = hidden(block) + at;
  if (how == How::kCopy) {
    static char source[1 << 20];
    memset(source, value, count);
    memcpy(target, hidden(static_cast<char*>(source)), count);
  } else {
    for (std::size_t i = 0; i < count; ++i) hidden(target)[i] = value;
  }
}

int smash(std::size_t size, std::ptrdiff_t at, std::size_t count, How how, char value) {
  char* blocks[kNeighbours];
  for (char*& block : blocks) block = filled(size);
  arm();
  write_at(blocks[kNeighbours / 2], at, count, how, value);
  Verdict verdict = kHarmless;
  for (char* block : blocks) {
    if (!intact(block, size, 0x5A)) verdict = kHarmed;
  }
  for (char* block : blocks) free(block);
  char* later[2 * kNeighbours];
  for (int i = 0; i < 2 * kNeighbours; ++i) later[i] = filled(size, i);
  for (int i = 0; i < 2 * kNeighbours; ++i) {
    if (!intact(later[i], size, static_cast<char>(i))) verdict = kHarmed;
  }
  return verdict;
}

template <std::size_t kCount, How kHow, char kValue = 0x41>
int beyond(std::size_t size) {
  return smash(size, static_cast<std::ptrdiff_t>(size), kCount, kHow, kValue);
}

template <std::size_t kCount, How kHow>
int before(std::size_t size) {
  return smash(size, -static_cast<std::ptrdiff_t>(kCount), kCount, kHow, 0x41);
}

constexpr std::size_t kMebibyte = 1 << 20;

}  // namespace

const Case kOverflowCases[] = {
    {"overflow-1-byte", beyond<1, How::kBytes>},
    {"overflow-1-zero", beyond<1, How::kBytes, 0>},
    {"overflow-1-copy", beyond<1, How::kCopy>},
    {"overflow-8-bytes", beyond<8, How::kBytes>},
    {"overflow-8-copy", beyond<8, How::kCopy>},
    {"overflow-32-bytes", beyond<32, How::kBytes>},
    {"overflow-32-copy", beyond<32, How::kCopy>},
    {"overflow-1-mib", beyond<kMebibyte, How::kCopy>},
    {"underflow-1-byte", before<1, How::kBytes>},
    {"underflow-1-copy", before<1, How::kCopy>},
    {"underflow-8-bytes", before<8, How::kBytes>},
    {"underflow-8-copy", before<8, How::kCopy>},
    {"underflow-32-bytes", before<32, How::kBytes>},
    {"underflow-32-copy", before<32, How::kCopy>},
    {nullptr, nullptr},
};
