// Servers' random mixes on several threads, after the published descriptions of mstress (mimalloc's
// test) and rptest (rpmalloc's benchmark). mstress: threads of unequal load allocate objects whose
// sizes are powers of two, pass some to each other, keep some, and end; the next phase's threads
// find what they left. rptest: long-lived threads allocate sizes of up to 16 KiB, free a random
// half, and hand some blocks over for another thread to free.
#include "bench.hpp"

namespace {

constexpr std::size_t kTransfer = 1024;
std::atomic<void*> transfer[kTransfer];

// Swaps a block with whatever lies in the shared table; the caller owns what it gets.
void* swap_with_others(bench::Rng& rng, void* block) {
  return transfer[rng.below(kTransfer)].exchange(block, std::memory_order_acq_rel);
}

std::size_t power_of_two_size(bench::Rng& rng) {
  // 16 B to 1 KiB mostly; one in 2,048 up to 64 KiB.
  const std::size_t shift = rng.below(2048) == 0 ? 11 + rng.below(6) : 4 + rng.below(7);
  return std::size_t{1} << shift;
}

// One thread of one mstress phase: `held` is what the thread of the phase before left behind.
void stress(std::vector<void*>& held, std::size_t work, std::uint64_t seed) {
  bench::Rng rng(seed);
  std::vector<void*> recent(work / 8 + 16, nullptr);
  for (std::size_t i = 0; i < work; i++) {
    void*& slot = recent[rng.below(recent.size())];
    void* fresh = bench::Sealed::make(power_of_two_size(rng));
    if (slot != nullptr && rng.below(4) == 0) {
      fresh = swap_with_others(rng, fresh);
      if (fresh == nullptr) continue;
    }
    if (slot != nullptr) bench::Sealed::check_and_free(slot);
    slot = fresh;
  }
  // One block in sixteen lives on with the thread's successor, in place of an older one.
  for (std::size_t i = 0; i < recent.size(); i++) {
    if (recent[i] == nullptr) continue;
    void*& keeper = held[rng.below(held.size())];
    if (i % 16 == 0) std::swap(keeper, recent[i]);
    if (recent[i] != nullptr) bench::Sealed::check_and_free(recent[i]);
  }
}

std::size_t run_mstress(const bench::Options& options, unsigned threads, double& seconds) {
  constexpr unsigned kPhases = 25;
  const std::size_t work = options.scaled(70000, 64);
  std::vector<std::vector<void*>> held(threads, std::vector<void*>(4000, nullptr));
  std::size_t ops = 0;
  const double start = bench::now_seconds();
  for (unsigned phase = 0; phase < kPhases; phase++) {
    bench::run_threads(threads, [&](unsigned i) {
      stress(held[i], work / (1 + i % 3), options.seed + phase * 100 + i);
    });
    for (unsigned i = 0; i < threads; i++) ops += work / (1 + i % 3);
  }
  seconds = bench::now_seconds() - start;
  for (auto& list : held) {
    for (void* block : list) {
      if (block != nullptr) bench::Sealed::check_and_free(block);
    }
  }
  return ops;
}

std::size_t run_rptest(const bench::Options& options, unsigned threads, double& seconds) {
  constexpr std::size_t kLive = 4000;
  const std::size_t loops = options.scaled(1200);
  std::atomic<std::size_t> ops{0};
  seconds = bench::run_threads(threads, [&](unsigned t) {
    bench::Rng rng(options.seed + t);
    std::vector<void*> live(kLive, nullptr);
    std::size_t done = 0;
    for (std::size_t loop = 0; loop < loops; loop++) {
      const std::size_t start = rng.below(kLive);
      for (std::size_t i = 0; i < kLive / 2; i++) {
        void*& slot = live[(start + i * 7) % kLive];
        if (slot != nullptr) bench::Sealed::check_and_free(slot);
        slot = bench::Sealed::make(rng.program_size(16, 16000));
        done++;
      }
      for (std::size_t i = 0; i < kLive / 16; i++) {
        void*& slot = live[rng.below(kLive)];
        slot = swap_with_others(rng, slot);
      }
    }
    for (void* block : live) {
      if (block != nullptr) bench::Sealed::check_and_free(block);
    }
    ops += done;
  });
  return ops;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv, {"mstress", "rptest"});
  const unsigned threads = options.threads != 0 ? options.threads : 8;
  double seconds = 0;
  const std::size_t ops = options.mode == "mstress" ? run_mstress(options, threads, seconds)
                                                    : run_rptest(options, threads, seconds);
  for (auto& slot : transfer) {
    void* block = slot.exchange(nullptr);
    if (block != nullptr) bench::Sealed::check_and_free(block);
  }
  return bench::Report(ops, seconds).print();
}
