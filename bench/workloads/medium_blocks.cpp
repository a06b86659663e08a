// Blocks between small and large, replaced at random by 4 threads, each in a table of its own:
// buffers of a server, rows of a database, tiles. slots: 8 to 32 KiB; spans: 32 to 256 KiB. Only
// the ends of a block are written, so that the calls count: few allocators cache such sizes for a
// thread, and the others meet at one lock.
#include "bench.hpp"

namespace {

struct Range {
  std::size_t low;
  std::size_t high;
  std::size_t steps;
};

constexpr Range kSlots = {8 << 10, 32 << 10, 3'000'000};
constexpr Range kSpans = {(32 << 10) + 1, 256 << 10, 1'000'000};
constexpr std::size_t kLive = 64;

struct Block {
  char* start = nullptr;
  std::size_t size = 0;
};

void release(const Block& block, std::size_t at) {
  if (block.start == nullptr) return;
  const char mark = static_cast<char>(at);
  if (block.start[0] != mark || block.start[block.size - 1] != mark) bench::die("a block changed");
  std::free(block.start);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv, {"slots", "spans"});
  const Range& range = options.mode == "slots" ? kSlots : kSpans;
  const unsigned threads = options.threads != 0 ? options.threads : 4;
  const std::size_t steps = options.scaled(range.steps) / threads + 1;
  const double seconds = bench::run_threads(threads, [&](unsigned thread) {
    bench::Rng rng(options.seed + thread);
    std::vector<Block> live(kLive);
    for (std::size_t i = 0; i < steps; i++) {
      const std::size_t at = rng.below(kLive);
      Block& block = live[at];
      release(block, at);
      block.size = rng.between(range.low, range.high);
      block.start = static_cast<char*>(bench::take(block.size));
      block.start[0] = block.start[block.size - 1] = static_cast<char>(at);
    }
    for (std::size_t at = 0; at < kLive; at++) release(live[at], at);
  });
  return bench::Report(steps * threads, seconds).print();
}
