// Many threads on few cores, as a service whose concurrency has ramped up: 256 threads replace
// blocks of a shared table of 65,536 by one atomic exchange, so that nearly every free is of a
// block that another thread, probably not running, allocated. About 30 MB are live at any time.
#include "bench.hpp"

namespace {

constexpr std::size_t kTable = 65536;
std::atomic<void*> table[kTable];

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  const unsigned threads = options.threads != 0 ? options.threads : 256;
  const std::size_t steps = options.scaled(6e6 / threads);

  bench::Rng fill(options.seed);
  for (auto& slot : table) slot.store(bench::Sealed::make(fill.between(16, 900)));
  const double seconds = bench::run_threads(threads, [&](unsigned i) {
    bench::Rng rng(options.seed + 1 + i);
    for (std::size_t step = 0; step < steps; step++) {
      void* fresh = bench::Sealed::make(rng.between(16, 900));
      bench::Sealed::check_and_free(
          table[rng.below(kTable)].exchange(fresh, std::memory_order_acq_rel));
    }
  });
  for (auto& slot : table) bench::Sealed::check_and_free(slot.load());
  bench::Report report(steps * threads, seconds);
  report.add("mops_per_second", static_cast<double>(steps * threads) / seconds * 1e-6);
  return report.print();
}
