// Mixed lifetimes and orders, after the published descriptions of MicroQuill's sh6bench and
// sh8bench. six: every pass allocates many small blocks of mixed sizes; some are freed in the order
// last in, first out, others first in, first out, and some survive into the next pass. eight: the
// same on eight threads, and a part of each thread's survivors is freed by its neighbour.
#include "bench.hpp"

namespace {

constexpr std::size_t kPass = 3000;
constexpr std::size_t kSurvivors = kPass / 4;

// Small sizes often, a kibibyte rarely: a program's usual slope.
std::size_t next_size(bench::Rng& rng) { return rng.program_size(16, 1024); }

void one_pass(bench::Rng& rng, std::vector<void*>& blocks, std::vector<void*>& survivors) {
  for (void*& block : blocks) block = bench::Sealed::make(next_size(rng));
  // What survived the pass before goes first, so that old and new blocks interleave.
  for (void*& old : survivors) {
    if (old != nullptr) bench::Sealed::check_and_free(old);
    old = nullptr;
  }
  for (std::size_t i = 0; i < kSurvivors; i++) {
    survivors[i] = blocks[i * 4];
    blocks[i * 4] = nullptr;
  }
  const std::size_t half = blocks.size() / 2;
  for (std::size_t i = blocks.size(); i-- > half;) {
    if (blocks[i] != nullptr) bench::Sealed::check_and_free(blocks[i]);
  }
  for (std::size_t i = 0; i < half; i++) {
    if (blocks[i] != nullptr) bench::Sealed::check_and_free(blocks[i]);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv, {"six", "eight"});
  const bool eight = options.mode == "eight";
  const unsigned threads = options.threads != 0 ? options.threads : (eight ? 8 : 1);
  const std::size_t passes = options.scaled(eight ? 1800 : 8000);
  // A mailbox for each thread's neighbour: whoever finds something in it frees it.
  std::vector<std::atomic<std::vector<void*>*>> mail(threads);

  const auto free_all = [](std::vector<void*>* list) {
    if (list == nullptr) return;
    for (void* block : *list) {
      if (block != nullptr) bench::Sealed::check_and_free(block);
    }
    delete list;
  };
  const double seconds = bench::run_threads(threads, [&](unsigned i) {
    bench::Rng rng(options.seed + i);
    std::vector<void*> blocks(kPass);
    std::vector<void*> survivors(kSurvivors, nullptr);
    for (std::size_t pass = 0; pass < passes; pass++) {
      one_pass(rng, blocks, survivors);
      if (!eight || pass % 4 != 3) continue;
      auto* gift = new std::vector<void*>(survivors);
      for (void*& block : survivors) block = nullptr;
      free_all(mail[(i + 1) % threads].exchange(gift, std::memory_order_acq_rel));
      free_all(mail[i].exchange(nullptr, std::memory_order_acq_rel));
    }
    for (void* block : survivors) {
      if (block != nullptr) bench::Sealed::check_and_free(block);
    }
  });
  for (auto& box : mail) free_all(box.exchange(nullptr));
  return bench::Report(passes * kPass * threads, seconds).print();
}
