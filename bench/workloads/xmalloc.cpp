// Purely allocating and purely freeing threads, after the published description of xmalloc-test by
// Lever and Boreham, "malloc() performance in a multithreaded Linux environment" (2000). Whole
// batches of blocks migrate through a table of mailboxes by one atomic exchange each, so that any
// freeing thread gets blocks of any allocating thread.
#include "bench.hpp"

namespace {

constexpr std::size_t kBatch = 120;
constexpr std::size_t kBoxes = 32;

struct Batch {
  void* blocks[kBatch];
};

struct alignas(64) Box {
  std::atomic<Batch*> batch{nullptr};
};

Box boxes[kBoxes];

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  const unsigned pairs = options.threads != 0 ? options.threads : 4;
  const std::size_t per_thread = options.scaled(70000.0 / pairs);
  std::atomic<std::size_t> freed{0};

  const auto allocate = [&](unsigned i) {
    bench::Rng rng(options.seed + i);
    for (std::size_t n = 0; n < per_thread; n++) {
      auto* batch = static_cast<Batch*>(bench::take(sizeof(Batch)));
      for (void*& block : batch->blocks) block = bench::Sealed::make(rng.program_size(16, 2048));
      for (std::size_t at = rng.below(kBoxes), tries = 0;; at = (at + 1) % kBoxes) {
        Batch* empty = nullptr;
        if (boxes[at].batch.load(std::memory_order_relaxed) == nullptr &&
            boxes[at].batch.compare_exchange_strong(empty, batch, std::memory_order_release,
                                                    std::memory_order_relaxed)) {
          break;
        }
        if (++tries % kBoxes == 0) sched_yield();
      }
    }
  };
  const auto release = [&](unsigned i) {
    bench::Rng rng(options.seed + 77 + i);
    const std::size_t all = per_thread * pairs;
    for (std::size_t at = rng.below(kBoxes), tries = 0; freed.load(std::memory_order_relaxed) < all;
         at = (at + 1) % kBoxes) {
      Batch* batch = nullptr;
      if (boxes[at].batch.load(std::memory_order_relaxed) != nullptr) {
        batch = boxes[at].batch.exchange(nullptr, std::memory_order_acquire);
      }
      if (batch == nullptr) {
        if (++tries % kBoxes == 0) sched_yield();
        continue;
      }
      for (void* block : batch->blocks) bench::Sealed::check_and_free(block);
      std::free(batch);
      freed.fetch_add(1, std::memory_order_relaxed);
    }
  };
  const double seconds = bench::run_threads(
      2 * pairs, [&](unsigned i) { return i < pairs ? allocate(i) : release(i); });
  if (freed.load() != per_thread * pairs) bench::die("batches went missing");
  return bench::Report(per_thread * pairs * kBatch, seconds).print();
}
