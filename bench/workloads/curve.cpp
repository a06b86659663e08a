// Cost against size, one point a run, for bench/curves.py. heap: random replace while --blocks MiB
// are live. threads: --threads threads replace in small tables of their own. size: blocks of
// --blocks bytes are allocated, written once a page, and freed, a few live at a time. The number of
// operations is chosen so that a point takes a fraction of a second; filling the heap is not timed.
#include <sys/mman.h>

#include "resident.hpp"

namespace {

struct Slot {
  void* block;
  std::uint32_t size;
};

void replace(Slot& slot, std::size_t size, std::uint64_t tag) {
  std::free(slot.block);
  slot.block = bench::take(size);
  slot.size = static_cast<std::uint32_t>(size);
  bench::mark(slot.block, size, tag);
}

int run_heap(const bench::Options& options) {
  const double wanted = static_cast<double>(options.blocks != 0 ? options.blocks : 16) * 1048576.0;
  // The table comes from the kernel: it must not be a large block of the allocator measured.
  const auto slots = static_cast<std::size_t>(wanted / 64) + 1;
  void* memory = mmap(nullptr, slots * sizeof(Slot), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) bench::die("no memory for a table of %zu slots", slots);
  auto* table = static_cast<Slot*>(memory);
  bench::Rng rng(options.seed);
  std::size_t count = 0;
  double live = 0;
  while (live < wanted && count < slots) {
    const std::size_t size = rng.program_size(16, 4096);
    replace(table[count++], size, 0);
    live += static_cast<double>(size);
  }
  const std::size_t steps = options.scaled(2e6);
  const double start = bench::now_seconds();
  for (std::size_t i = 0; i < steps; i++) {
    Slot& slot = table[((rng.next() >> 20) * count) >> 44];
    if (i % 8 == 0) bench::check(slot.block, slot.size, 0);
    replace(slot, rng.program_size(16, 4096), 0);
  }
  bench::Report report(steps, bench::now_seconds() - start);
  report.add("live_bytes", live);
  report.add("rss", bench::resident_bytes() - static_cast<double>(count * sizeof(Slot)));
  return report.print();
}

int run_threads(const bench::Options& options) {
  const unsigned threads = options.threads != 0 ? options.threads : 1;
  constexpr std::size_t kLive = 256;
  const std::size_t steps = options.scaled(8e6 / threads);
  const double seconds = bench::run_threads(threads, [&](unsigned i) {
    bench::Rng rng(options.seed + i);
    Slot table[kLive] = {};
    for (std::size_t step = 0; step < steps; step++) {
      Slot& slot = table[rng.below(kLive)];
      if (slot.block != nullptr) bench::check(slot.block, slot.size, i);
      replace(slot, rng.program_size(16, 1024), i);
    }
    for (Slot& slot : table) std::free(slot.block);
  });
  return bench::Report(steps * threads, seconds).print();
}

int run_size(const bench::Options& options) {
  const std::size_t size = options.blocks != 0 ? options.blocks : 64;
  // Up to 64 MiB live, but at least two blocks and at most a thousand.
  std::size_t live = (std::size_t{64} << 20) / size;
  live = live < 2 ? 2 : live > 1000 ? 1000 : live;
  const double by_bytes = 4e9 / static_cast<double>(size);
  const std::size_t steps = options.scaled(by_bytes < 4e6 ? by_bytes : 4e6, 8);
  std::vector<Slot> table(live);
  bench::Rng rng(options.seed);
  const double start = bench::now_seconds();
  for (std::size_t i = 0; i < steps; i++) {
    Slot& slot = table[rng.below(live)];
    if (slot.block != nullptr) bench::check(slot.block, slot.size, 7);
    replace(slot, size, 7);
  }
  const double seconds = bench::now_seconds() - start;
  for (Slot& slot : table) std::free(slot.block);
  return bench::Report(steps, seconds).print();
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv, {"heap", "threads", "size"});
  if (options.mode == "heap") return run_heap(options);
  return options.mode == "threads" ? run_threads(options) : run_size(options);
}
