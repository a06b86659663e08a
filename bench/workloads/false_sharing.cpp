// Blocks of different threads on one cache line, after cache-thrash and cache-scratch of Berger et
// al., "Hoard" (2000). active: threads allocate small blocks at the same time; an allocator that
// splits a line between them makes their writes fight. passive: one thread allocates a line's worth
// of blocks and gives one to each thread, which frees it; an allocator that hands the freed block
// out again to that thread prolongs the sharing. The writes, not the calls, take the time. They
// depend on nothing: a chain of loads and stores to one address runs three times as fast or slow
// from one process to the next on processors that guess such pairs, whatever the allocator.
#include "bench.hpp"

namespace {

constexpr std::size_t kSize = 8;
constexpr std::size_t kWrites = 4000;

void write_many(void* block) {
  auto* word = static_cast<volatile std::uint64_t*>(block);
  for (std::size_t i = 1; i <= kWrites; i++) *word = i;
  if (*word != kWrites) bench::die("a block was written by another thread");
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv, {"active", "passive"});
  const unsigned threads = options.threads != 0 ? options.threads : 4;
  const bool active = options.mode == "active";
  const std::size_t rounds = options.scaled(active ? 800000 : 400000) / threads + 1;

  std::vector<void*> gifts(threads, nullptr);
  if (!active) {
    for (void*& gift : gifts) gift = bench::take(kSize);
  }
  const double seconds = bench::run_threads(threads, [&](unsigned i) {
    if (gifts[i] != nullptr) {
      write_many(gifts[i]);
      std::free(gifts[i]);
    }
    for (std::size_t round = 0; round < rounds; round++) {
      void* block = bench::take(kSize);
      write_many(block);
      std::free(block);
    }
  });
  return bench::Report(rounds * threads, seconds).print();
}
