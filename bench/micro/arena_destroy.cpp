// What ending an arena saves: the CPU time of destroying one that holds a million blocks, against
// freeing as many blocks one by one, from the arena and from the heap, in the order in which they
// were allocated and in random order. Every block's first bytes are written. The best of some
// rounds; prints one line a case, and with --at-least N fails when a case is less than N times
// slower than the destruction.
#include <carrel/carrel.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

namespace {

constexpr std::size_t kBlocks = 1'000'000;
constexpr int kRounds = 7;

/// Microseconds of this thread's CPU time.
double cpu_us() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

enum class From { kHeap, kArena };

std::vector<void*> fill(carrel_arena* arena, From from) {
  std::mt19937 random(1);
  std::vector<void*> blocks(kBlocks);
  for (void*& block : blocks) {
    const std::size_t size = 16 + random() % 113;
    block = from == From::kArena ? carrel_arena_alloc(arena, size) : carrel_malloc(size);
    if (block == nullptr) std::abort();
    std::memset(block, 1, 16);
  }
  return blocks;
}

double destroy_us() {
  double best = 1e18;
  for (int round = 0; round < kRounds; ++round) {
    carrel_arena* arena = carrel_arena_create();
    fill(arena, From::kArena);
    const double start = cpu_us();
    carrel_arena_destroy(arena);
    best = std::min(best, cpu_us() - start);
  }
  return best;
}

double one_by_one_us(From from, bool in_order) {
  double best = 1e18;
  for (int round = 0; round < kRounds; ++round) {
    carrel_arena* arena = carrel_arena_create();
    std::vector<void*> blocks = fill(arena, from);
    if (!in_order) std::shuffle(blocks.begin(), blocks.end(), std::mt19937(2));
    const double start = cpu_us();
    for (void* block : blocks) carrel_free(block);
    best = std::min(best, cpu_us() - start);
    carrel_arena_destroy(arena);
  }
  return best;
}

}  // namespace

int main(int count, char** arguments) {
  const double at_least =
      count == 3 && std::strcmp(arguments[1], "--at-least") == 0 ? std::atof(arguments[2]) : 0;
  if (count != 1 && at_least <= 0) {
    std::fprintf(stderr, "usage: arena_destroy [--at-least TIMES]\n");
    return 2;
  }
  const double destroyed = destroy_us();
  std::printf("%-40s %9.0f us\n", "arena of a million blocks destroyed", destroyed);
  int status = 0;
  const auto show = [&](const char* what, double us) {
    std::printf("%-40s %9.0f us  %6.0f times\n", what, us, us / destroyed);
    if (us < at_least * destroyed) status = 1;
  };
  show("freed one by one: heap, in order", one_by_one_us(From::kHeap, true));
  show("freed one by one: heap, random order", one_by_one_us(From::kHeap, false));
  show("freed one by one: arena, in order", one_by_one_us(From::kArena, true));
  show("freed one by one: arena, random order", one_by_one_us(From::kArena, false));
  return status;
}
