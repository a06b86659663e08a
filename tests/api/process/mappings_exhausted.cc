// A process that has as many mappings as the system allows (vm.max_map_count): whatever needs one
// more is refused, and so are fences of a hardened build where they take mappings. Requests may
// fail with ENOMEM; nothing else may happen, and with mappings again everything is served.
//
// Exits with 77 where so many mappings cannot be made.
#include <sys/mman.h>

#include <vector>

#include "../support/check.h"
#include "../support/override.h"

namespace {

constexpr size_t kMostMappings = 300'000;
constexpr size_t kSizes[] = {16, 100, 3000, 40'000, 300'000, 3'000'000};
constexpr size_t kRooms = 400;

struct Block {
  char* start;
  size_t size;
  uint32_t seed;
};

/// Reserves space and cuts it up by protection until no cut is possible any more.
char* use_up_mappings(size_t* bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  *bytes = kMostMappings * page;
  auto* start = static_cast<char*>(
      mmap(nullptr, *bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (start == MAP_FAILED) return nullptr;
  for (size_t at = page; at < *bytes; at += 2 * page) {
    if (mprotect(start + at, page, PROT_READ) == 0) continue;
    CHECK_EQ(errno, ENOMEM);
    return start;
  }
  munmap(start, *bytes);
  return nullptr;
}

void check(const Block& block) {
  CHECK(block_is_intact(block.start, block.size < 64 ? block.size : 64, block.seed));
}

/// Random requests; how many were refused.
size_t work(Block* blocks, uint64_t* random, int steps) {
  size_t refused = 0;
  for (int i = 0; i < steps; ++i) {
    Block& block = blocks[next_random(random) % kRooms];
    const size_t size = 1 + next_random(random) % kSizes[next_random(random) % 6];
    errno = 0;
    if (block.start != nullptr && next_random(random) % 4 != 0) {
      check(block);
      free(block.start);
      block.start = nullptr;
      continue;
    }
    if (block.start != nullptr) check(block);
    void* start =
        block.start == nullptr && i % 2 == 0 ? calloc(1, size) : realloc(block.start, size);
    if (start == nullptr) {
      CHECK_EQ(errno, ENOMEM);
      if (block.start != nullptr) check(block);
      ++refused;
      continue;
    }
    block = {static_cast<char*>(start), size, static_cast<uint32_t>(i)};
    fill_block(start, size < 64 ? size : 64, block.seed);
  }
  return refused;
}

}  // namespace

int main() {
  static Block blocks[kRooms];
  uint64_t random = 1;
  CHECK_EQ(work(blocks, &random, 2000), 0);
  size_t bytes = 0;
  char* mappings = use_up_mappings(&bytes);
  if (mappings == nullptr) {
    say("no limit on mappings was met; skipped\n");
    return kExitSkipped;
  }
  const size_t refused = work(blocks, &random, 20'000);
  CHECK_EQ(munmap(mappings, bytes), 0);
  CHECK_EQ(work(blocks, &random, 5000), 0);
  for (const Block& block : blocks) {
    if (block.start == nullptr) continue;
    check(block);
    free(block.start);
  }
  char line[80];
  snprintf(line, sizeof line, "%zu of 20000 requests were refused\n", refused);
  say(line);
  return 0;
}
