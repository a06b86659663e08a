// The two simplest patterns. hot: allocate one block and free it at once, a few sizes in turn, so
// that nothing but the fast path runs. fifo: a queue of 10,000 blocks where the oldest is freed as
// each new one comes, so that a thread cache must flush and refill.
#include "bench.hpp"

namespace {

std::size_t run_hot(std::size_t steps) {
  constexpr std::size_t kSizes[] = {16, 32, 48, 64, 96, 128, 256, 512};
  for (std::size_t i = 0; i < steps; i++) {
    const std::size_t size = kSizes[i % 8];
    auto* block = static_cast<std::uint64_t*>(bench::take(size));
    *block = i;
    bench::keep(block);
    if (*block != i) bench::die("a block lost its contents");
    std::free(block);
  }
  return steps;
}

std::size_t run_fifo(std::size_t steps) {
  constexpr std::size_t kQueue = 10000;
  constexpr std::size_t kSize = 48;
  std::vector<std::uint64_t*> queue(kQueue, nullptr);
  for (std::size_t i = 0; i < steps + kQueue; i++) {
    std::uint64_t*& slot = queue[i % kQueue];
    if (slot != nullptr) {
      if (*slot != i - kQueue) bench::die("a block lost its contents");
      std::free(slot);
    }
    slot = nullptr;
    if (i < steps) {
      slot = static_cast<std::uint64_t*>(bench::take(kSize));
      *slot = i;
    }
  }
  return steps;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv, {"hot", "fifo"});
  const std::size_t steps = options.scaled(options.mode == "hot" ? 8e7 : 5e7);
  const double start = bench::now_seconds();
  const std::size_t ops = options.mode == "hot" ? run_hot(steps) : run_fifo(steps);
  return bench::Report(ops, bench::now_seconds() - start).print();
}
