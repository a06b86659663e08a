// A server's heap over time, after Larson and Krishnan, "Memory allocation for long-running server
// applications" (1998): each worker replaces random blocks of its own table, then ends and leaves
// the table to a new thread, so that blocks outlive the threads that allocated them.
#include "bench.hpp"

namespace {

constexpr std::size_t kLow = 16;
constexpr std::size_t kHigh = 1000;
constexpr unsigned kGenerations = 8;

void replace_some(std::vector<void*>& table, std::size_t count, std::uint64_t seed) {
  bench::Rng rng(seed);
  for (std::size_t i = 0; i < count; i++) {
    void*& slot = table[rng.below(table.size())];
    bench::Sealed::check_and_free(slot);
    slot = bench::Sealed::make(rng.between(kLow, kHigh));
  }
}

void serve(std::vector<void*>& table, std::size_t count, std::uint64_t seed, unsigned generation) {
  replace_some(table, count, seed + generation);
  if (generation + 1 == kGenerations) return;
  std::thread([&, generation] { serve(table, count, seed, generation + 1); }).join();
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  const unsigned workers = options.threads != 0 ? options.threads : 4;
  const std::size_t total = options.scaled(16e6, workers * kGenerations);
  const std::size_t per_life = total / workers / kGenerations;
  const std::size_t blocks = workers > 16 ? 1000 : 5000;

  // The first blocks all come from one thread and are dealt out in turn, as in the original.
  std::vector<std::vector<void*>> tables(workers, std::vector<void*>(blocks));
  bench::Rng rng(options.seed);
  for (std::size_t i = 0; i < blocks; i++) {
    for (auto& table : tables) table[i] = bench::Sealed::make(rng.between(kLow, kHigh));
  }
  const double seconds = bench::run_threads(
      workers, [&](unsigned i) { serve(tables[i], per_life, options.seed + 1000 * (i + 1), 0); });
  for (auto& table : tables) {
    for (void* block : table) bench::Sealed::check_and_free(block);
  }
  return bench::Report(per_life * kGenerations * workers, seconds).print();
}
