// Large blocks, 64 KiB to 8 MiB, a few dozen live at a time, every page of each written: images,
// network buffers, columns of a table. Page faults cost more than the calls; an allocator that
// gives memory back too eagerly pays for them again and again.
#include "bench.hpp"

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  constexpr std::size_t kLive = 24;
  const std::size_t steps = options.scaled(4000);
  struct Slot {
    void* block = nullptr;
    std::size_t size = 0;
  };
  std::vector<Slot> live(kLive);
  bench::Rng rng(options.seed);
  const double start = bench::now_seconds();
  for (std::size_t i = 0; i < steps; i++) {
    const std::size_t at = rng.below(kLive);
    Slot& slot = live[at];
    if (slot.block != nullptr) {
      bench::check(slot.block, slot.size, at);
      std::free(slot.block);
    }
    slot.size = (std::size_t{64} << 10 << rng.below(7)) + rng.below(64 << 10);
    slot.block = bench::take(slot.size);
    bench::mark(slot.block, slot.size, at);
  }
  for (std::size_t at = 0; at < kLive; at++) {
    if (live[at].block == nullptr) continue;
    bench::check(live[at].block, live[at].size, at);
    std::free(live[at].block);
  }
  return bench::Report(steps, bench::now_seconds() - start).print();
}
