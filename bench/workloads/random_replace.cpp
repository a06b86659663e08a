// One thread replaces random blocks of a fixed table, after the published description of alloc-test
// (OLogN Technologies): sizes fall off as in programs, most lookups go to few places. With --blocks
// 4000 everything fits the caches; with 200000 every block touched is a cache miss, and an
// allocator that reads a freed block pays for another.
#include "bench.hpp"

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  const std::size_t blocks = options.blocks != 0 ? options.blocks : 4000;
  const std::size_t steps = options.scaled(blocks > 50000 ? 7e6 : 22e6);

  struct Slot {
    void* block;
    std::size_t size;
  };
  std::vector<Slot> table(blocks);
  bench::Rng rng(options.seed);
  const double start = bench::now_seconds();
  for (std::size_t i = 0; i < blocks; i++) {
    table[i].size = rng.program_size(16, 4096);
    table[i].block = bench::take(table[i].size);
    bench::mark(table[i].block, table[i].size, i);
  }
  for (std::size_t i = 0; i < steps; i++) {
    const std::size_t at = rng.below(blocks);
    Slot& slot = table[at];
    // One in eight is checked: reading every block back would measure the cache, not the allocator.
    if (i % 8 == 0) bench::check(slot.block, slot.size, at);
    std::free(slot.block);
    slot.size = rng.program_size(16, 4096);
    slot.block = bench::take(slot.size);
    bench::mark(slot.block, slot.size, at);
  }
  for (std::size_t i = 0; i < blocks; i++) {
    bench::check(table[i].block, table[i].size, i);
    std::free(table[i].block);
  }
  return bench::Report(steps + blocks, bench::now_seconds() - start).print();
}
