// A program that changes its mind: each phase fills some 24 MB with blocks of its own
// range of sizes, replaces many, then frees all but one in a hundred. What stays behind must not
// pin memory that the next phase, with other sizes, needs.
#include "bench.hpp"

namespace {

struct Range {
  std::size_t low;
  std::size_t high;
};

constexpr Range kPhases[] = {{16, 64},   {500, 900},     {24, 40},  {3000, 6000},
                             {100, 200}, {20000, 40000}, {16, 300}, {1000, 2000}};
constexpr std::size_t kPhaseBytes = 24u << 20;

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  const std::size_t bytes = options.scaled(kPhaseBytes, 1 << 20);
  bench::Rng rng(options.seed);
  std::vector<void*> stragglers;
  std::size_t ops = 0;
  const double start = bench::now_seconds();
  for (unsigned round = 0; round < 2; round++) {
    for (const Range& range : kPhases) {
      const std::size_t count = bytes / ((range.low + range.high) / 2);
      std::vector<void*> blocks(count);
      for (void*& block : blocks) block = bench::Sealed::make(rng.between(range.low, range.high));
      for (std::size_t i = 0; i < count; i++) {
        void*& block = blocks[rng.below(count)];
        bench::Sealed::check_and_free(block);
        block = bench::Sealed::make(rng.between(range.low, range.high));
      }
      for (void* block : blocks) {
        if (rng.below(100) == 0) {
          stragglers.push_back(block);
        } else {
          bench::Sealed::check_and_free(block);
        }
      }
      ops += 2 * count;
    }
  }
  for (void* block : stragglers) bench::Sealed::check_and_free(block);
  return bench::Report(ops, bench::now_seconds() - start).print();
}
