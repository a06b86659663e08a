// Uses of a block after it was freed, before and after its memory is handed out again, and what a
// new block still holds of an old one.
#include "promise.h"

namespace {

constexpr char kSecret = 0x5A;
constexpr char kStale = 0x41;

bool holds(const char* block, std::size_t size, char value) {
  // Most of the block: the first bytes are where allocators keep links.
  std::size_t count = 0;
  for (std::size_t i = 0; i < size; ++i) count += hidden(block)[i] == value ? 1 : 0;
  return count > size / 4;
}

/// Reads the secret that a freed block held.
int read_freed(std::size_t size) {
  char* block = filled(size, kSecret);
  arm();
  free(block);
  return holds(block, size, kSecret) ? kHarmed : kHarmless;
}

/// Reads, through a freed block, what the next owner of its memory wrote.
int read_reused(std::size_t size) {
  char* block = filled(size, 1);
  arm();
  free(block);
  filled(size, kSecret);
  return holds(block, size, kSecret) ? kHarmed : kHarmless;
}

/// Writes to a freed block; harm is done if a new block shows it.
int write_freed(std::size_t size) {
  char* block = filled(size);
  char* others[kNeighbours];
  for (char*& other : others) other = filled(size);
  arm();
  free(block);
  for (std::size_t i = 0; i < size && i < 64; ++i) hidden(block)[i] = kStale;
  for (int i = 0; i < kNeighbours; ++i) free(others[i]);
  const int rounds = size > 100'000 ? 200 : 2000;
  int verdict = kHarmless;
  for (int round = 0; round < rounds; ++round) {
    auto* next = static_cast<char*>(malloc(size));
    if (next == nullptr) break;
    if (next[40 % size] == kStale) verdict = kHarmed;
  }
  return verdict;
}

/// Writes to a freed block, which then belongs to the next one who asks for its size.
int write_reused(std::size_t size) {
  char* block = filled(size);
  arm();
  free(block);
  char* next = filled(size, 1);
  for (std::size_t i = 0; i < size && i < 64; ++i) hidden(block)[i] = kStale;
  const bool corrupted = hidden(next)[0] == kStale;
  free(next);
  return corrupted ? kHarmed : kHarmless;
}

/// A new block shows what an earlier one of its size held.
int uninitialised(std::size_t size) {
  char* old[kNeighbours];
  for (char*& block : old) block = filled(size, kSecret);
  for (char* block : old) free(block);
  arm();
  for (int i = 0; i < 2 * kNeighbours; ++i) {
    auto* block = static_cast<char*>(malloc(size));
    if (block != nullptr && holds(block, size, kSecret)) return kHarmed;
  }
  return kHarmless;
}

/// A block grown by realloc shows, beyond its old end, what an earlier one held.
int uninitialised_realloc(std::size_t size) {
  char* old[kNeighbours];
  for (char*& block : old) block = filled(2 * size, kSecret);
  for (char* block : old) free(block);
  arm();
  for (int i = 0; i < 2 * kNeighbours; ++i) {
    auto* block = static_cast<char*>(realloc(filled(size, 1), 2 * size));
    if (block != nullptr && holds(block + size, size, kSecret)) return kHarmed;
  }
  return kHarmless;
}

/// The block that was freed last is the next one handed out.
int reused_at_once(std::size_t size) {
  char* block = filled(size);
  arm();
  free(block);
  return hidden(filled(size)) == hidden(block) ? kHarmed : kHarmless;
}

/// Blocks come back in the order in which they were freed, or exactly in the opposite one.
int reuse_order(std::size_t size) {
  char* old[kNeighbours];
  for (char*& block : old) block = filled(size);
  arm();
  for (char* block : old) free(block);
  int forwards = 0;
  int backwards = 0;
  for (int i = 0; i < kNeighbours; ++i) {
    char* block = filled(size);
    forwards += block == old[i] ? 1 : 0;
    backwards += block == old[kNeighbours - 1 - i] ? 1 : 0;
  }
  return forwards > kNeighbours / 2 || backwards > kNeighbours / 2 ? kHarmed : kHarmless;
}

/// Blocks asked for one after the other lie one after the other.
int neighbours_known(std::size_t size) {
  char* blocks[kNeighbours];
  arm();
  for (char*& block : blocks) block = filled(size);
  int most = 0;
  for (int i = 1; i < kNeighbours; ++i) {
    const std::ptrdiff_t step = blocks[i] - blocks[i - 1];
    int same = 0;
    for (int j = 1; j < kNeighbours; ++j) same += blocks[j] - blocks[j - 1] == step ? 1 : 0;
    if (same > most) most = same;
  }
  return most > kNeighbours / 2 ? kHarmed : kHarmless;
}

}  // namespace

const Case kAfterFreeCases[] = {
    {"read-after-free", read_freed},        {"read-after-reuse", read_reused},
    {"write-after-free", write_freed},      {"write-after-reuse", write_reused},
    {"uninitialised-read", uninitialised},  {"uninitialised-realloc", uninitialised_realloc},
    {"reuse-at-once", reused_at_once},      {"reuse-order", reuse_order},
    {"neighbours-known", neighbours_known}, {nullptr, nullptr},
};
