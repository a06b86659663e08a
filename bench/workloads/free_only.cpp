// A thread that only ever frees. One thread allocates a batch, another frees it, in turn and never
// at the same time, over and over. The memory in use is one batch; an allocator that keeps what the
// second thread freed where the first cannot get it grows without bound or slows down.
#include <semaphore>

#include "bench.hpp"

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  constexpr std::size_t kBatch = 50000;
  const std::size_t batches = options.scaled(120);
  std::vector<void*> batch(kBatch);
  std::binary_semaphore filled{0};
  std::binary_semaphore emptied{1};

  const double seconds = bench::run_threads(2, [&](unsigned i) {
    bench::Rng rng(options.seed);
    for (std::size_t n = 0; n < batches; n++) {
      if (i == 0) {
        emptied.acquire();
        for (void*& block : batch) block = bench::Sealed::make(rng.program_size(16, 1024));
        filled.release();
      } else {
        filled.acquire();
        for (void* block : batch) bench::Sealed::check_and_free(block);
        emptied.release();
      }
    }
  });
  return bench::Report(batches * kBatch, seconds).print();
}
