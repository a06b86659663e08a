// Short-lived threads, as servers with a thread for each request have them: each allocates a few
// hundred blocks, frees most, leaves some for its successor, and ends. The cost of a thread's first
// allocation and of its exit counts here, and memory of ended threads must be found again.
#include "bench.hpp"

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  const unsigned lanes = options.threads != 0 ? options.threads : 4;
  const std::size_t lives = options.scaled(14000.0 / lanes);
  constexpr std::size_t kBlocks = 300;
  constexpr std::size_t kLeft = 30;

  const double seconds = bench::run_threads(lanes, [&](unsigned lane) {
    std::vector<void*> left;
    left.reserve(kLeft);
    for (std::size_t life = 0; life < lives; life++) {
      std::thread([&] {
        bench::Rng rng(options.seed + lane * 100003 + life);
        void* blocks[kBlocks];
        for (void*& block : blocks) block = bench::Sealed::make(rng.program_size(16, 8192));
        for (void* block : left) bench::Sealed::check_and_free(block);
        left.clear();
        for (std::size_t i = 0; i < kBlocks; i++) {
          if (i % (kBlocks / kLeft) == 0) {
            left.push_back(blocks[i]);
          } else {
            bench::Sealed::check_and_free(blocks[i]);
          }
        }
      }).join();
    }
    for (void* block : left) bench::Sealed::check_and_free(block);
  });
  bench::Report report(lives * lanes * kBlocks, seconds);
  report.add("threads_started", static_cast<double>(lives * lanes));
  return report.print();
}
