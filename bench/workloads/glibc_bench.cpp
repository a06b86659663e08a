// Two programmes like those glibc's developers measure with. simple: rounds of allocating a number
// of equal blocks and freeing them in order, for several sizes and numbers. thread: each thread
// replaces random blocks of a small working set whose sizes favour small ones.
#include "bench.hpp"

namespace {

std::size_t run_simple(const bench::Options& options) {
  constexpr std::size_t kSizes[] = {16, 40, 128, 504, 1024, 4096};
  constexpr std::size_t kCounts[] = {25, 100, 400, 1600};
  std::vector<void*> blocks(1600);
  std::size_t ops = 0;
  for (const std::size_t size : kSizes) {
    for (const std::size_t count : kCounts) {
      const std::size_t rounds = options.scaled(0.8e6) / count + 1;
      for (std::size_t round = 0; round < rounds; round++) {
        for (std::size_t i = 0; i < count; i++) {
          blocks[i] = bench::take(size);
          *static_cast<std::uint64_t*>(blocks[i]) = i;
        }
        for (std::size_t i = 0; i < count; i++) {
          if (*static_cast<std::uint64_t*>(blocks[i]) != i) bench::die("a block changed");
          std::free(blocks[i]);
        }
        ops += count;
      }
    }
  }
  return ops;
}

std::size_t run_thread(const bench::Options& options, unsigned thread) {
  constexpr std::size_t kLive = 1024;
  const std::size_t steps = options.scaled(8e6);
  bench::Rng rng(options.seed + thread);
  std::vector<void*> live(kLive, nullptr);
  for (std::size_t i = 0; i < steps; i++) {
    void*& slot = live[rng.below(kLive)];
    if (slot != nullptr) bench::Sealed::check_and_free(slot);
    slot = bench::Sealed::make(rng.program_size(16, 32768));
  }
  for (void* block : live) {
    if (block != nullptr) bench::Sealed::check_and_free(block);
  }
  return steps;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv, {"simple", "thread"});
  if (options.mode == "simple") {
    const double start = bench::now_seconds();
    const std::size_t ops = run_simple(options);
    return bench::Report(ops, bench::now_seconds() - start).print();
  }
  const unsigned threads = options.threads != 0 ? options.threads : 4;
  std::atomic<std::size_t> ops{0};
  const double seconds =
      bench::run_threads(threads, [&](unsigned i) { ops += run_thread(options, i); });
  return bench::Report(ops, seconds).print();
}
