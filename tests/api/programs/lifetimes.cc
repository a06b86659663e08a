// Allocates known amounts at known places, frees them after known times, and writes a heap profile
// of that. The test that runs it, check_lifetimes.py, is told on standard output what should be in
// it.
//
//   lifetimes FILE
#include <carrel/carrel.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

#include "../support/sites.h"

SITE_OF(site_short, malloc(size))
SITE_OF(site_middle, operator new(size))
SITE_OF(site_large, calloc(1, size))
SITE_OF(site_long, malloc(size))
SITE_OF(site_never, malloc(size))

namespace {

constexpr size_t kInterval = 16 * 1024;

void expect(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "lifetimes: %s\n", what);
  exit(1);
}

uint64_t now_ns() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

/// Between which bounds the lifetimes of a site's blocks lie.
struct Bounds {
  uint64_t least = UINT64_MAX;
  uint64_t most = 0;
};

/// Blocks that were allocated together.
struct Batch {
  std::vector<void*> blocks;
  uint64_t began = now_ns();
  uint64_t ended = 0;

  Batch(void* (*site)(size_t), size_t size, size_t count) {
    blocks.reserve(count);
    began = now_ns();
    for (size_t i = 0; i < count; ++i) blocks.push_back(site(size));
    ended = now_ns();
  }
  void free_all(Bounds& bounds) {
    const uint64_t from = now_ns();
    for (void* block : blocks) free(block);
    bounds.least = std::min(bounds.least, from - ended);
    bounds.most = std::max(bounds.most, now_ns() - began);
  }
};

void tell(const char* name, const void* function, size_t size, size_t freed, const Bounds& bounds) {
  printf("site %s %#lx %zu %zu %lu %lu\n", name, reinterpret_cast<unsigned long>(function), size,
         freed, bounds.least, bounds.most);
}

}  // namespace

int main(int argc, char** argv) {
  expect(argc == 2, "usage: lifetimes FILE");
  expect(carrel_profile_start(kInterval) == CARREL_OK, "cannot start");
  print_sites();

  Bounds of_long;
  Batch long_lived(site_long, 300, 30'000);
  const Batch never_freed(site_never, 200, 30'000);

  Bounds of_short{.least = 0, .most = 0};
  const uint64_t began = now_ns();
  constexpr size_t kShort = 500'000;
  for (size_t i = 0; i < kShort; ++i) free(site_short(64));
  of_short.most = now_ns() - began;

  Bounds of_middle;
  Bounds of_large;
  constexpr size_t kRounds = 10;
  for (size_t round = 0; round < kRounds; ++round) {
    Batch batch(site_middle, 100, 10'000);
    Batch large(site_large, 100'000, 20);
    usleep(20'000);
    std::thread([&batch, &of_middle] { batch.free_all(of_middle); }).join();
    large.free_all(of_large);
  }
  while (now_ns() - long_lived.ended < 1'100'000'000) usleep(50'000);
  long_lived.free_all(of_long);

  tell("short", reinterpret_cast<const void*>(&site_short), 64, kShort, of_short);
  tell("middle", reinterpret_cast<const void*>(&site_middle), 100, kRounds * 10'000, of_middle);
  tell("large", reinterpret_cast<const void*>(&site_large), 100'000, kRounds * 20, of_large);
  tell("long", reinterpret_cast<const void*>(&site_long), 300, 30'000, of_long);
  tell("never", reinterpret_cast<const void*>(&site_never), 200, 0, Bounds{.least = 0, .most = 0});
  expect(carrel_profile_dump(argv[1]) == CARREL_OK, "cannot write");
  return 0;
}
