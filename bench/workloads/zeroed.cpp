// calloc. small: blocks of up to 2 KiB, written and freed, so that recycled memory must be cleared.
// large: blocks of 256 MB of which a quarter of the pages is used: memory that comes fresh from the
// kernel is zero and need not be cleared. kernel: the same through mmap: the least it can cost.
#include <sys/mman.h>

#include "bench.hpp"

namespace {

constexpr std::size_t kPage = 4096;

std::size_t run_small(const bench::Options& options) {
  constexpr std::size_t kLive = 2000;
  const std::size_t steps = options.scaled(12e6);
  struct Slot {
    unsigned char* bytes = nullptr;
    std::size_t size = 0;
  };
  std::vector<Slot> live(kLive);
  bench::Rng rng(options.seed);
  for (std::size_t i = 0; i < steps; i++) {
    Slot& slot = live[rng.below(kLive)];
    std::free(slot.bytes);
    slot.size = rng.program_size(16, 2048);
    slot.bytes = static_cast<unsigned char*>(std::calloc(1, slot.size));
    if (slot.bytes == nullptr) bench::die("calloc(%zu) returned null", slot.size);
    // The ends and the middle must be zero, and are then made dirty for whoever gets them next.
    unsigned char* at[] = {slot.bytes, slot.bytes + slot.size / 2, slot.bytes + slot.size - 1};
    for (unsigned char* byte : at) {
      if (*byte != 0) bench::die("calloc(%zu) returned memory that is not zero", slot.size);
    }
    for (unsigned char* byte : at) *byte = 0xa5;
  }
  for (Slot& slot : live) std::free(slot.bytes);
  return steps;
}

std::size_t run_large(const bench::Options& options, bool kernel) {
  const std::size_t size = options.scaled(256u << 20, 1 << 20);
  constexpr std::size_t kRounds = 8;
  for (std::size_t round = 0; round < kRounds; round++) {
    void* block =
        kernel ? mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
               : std::calloc(size / 16, 16);
    if (block == nullptr || block == MAP_FAILED) bench::die("no block of %zu bytes", size);
    auto* bytes = static_cast<volatile unsigned char*>(block);
    for (std::size_t at = round % 4 * kPage; at < size; at += 4 * kPage) {
      if (bytes[at] != 0) bench::die("calloc returned memory that is not zero");
      bytes[at] = 0xa5;
    }
    if (kernel) {
      munmap(block, size);
    } else {
      std::free(block);
    }
  }
  return kRounds;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv, {"small", "large", "kernel"});
  const double start = bench::now_seconds();
  const std::size_t ops =
      options.mode == "small" ? run_small(options) : run_large(options, options.mode == "kernel");
  return bench::Report(ops, bench::now_seconds() - start).print();
}
