// Buffers that grow. realloc: one buffer grows to 256 MB, first by small steps, then by half its
// size, and is shrunk and grown again; only new bytes are written. vectors: several standard
// vectors grow by push_back in turn, so that none can simply extend to where its neighbour lies.
// kernel: what realloc does, on mmap and mremap directly: the least that the growth can cost.
#include <sys/mman.h>

#include "bench.hpp"

namespace {

constexpr std::size_t kTarget = std::size_t{256} << 20;
constexpr std::size_t kPage = 4096;

void* grow_by_realloc(void* block, std::size_t, std::size_t size) {
  void* grown = std::realloc(block, size);
  if (grown == nullptr) bench::die("realloc(%zu) returned null", size);
  bench::keep(grown);
  return grown;
}

void* grow_by_kernel(void* block, std::size_t old, std::size_t size) {
  const auto pages = [](std::size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; };
  void* grown =
      block == nullptr
          ? mmap(nullptr, pages(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
      : pages(old) == pages(size) ? block
                                  : mremap(block, pages(old), pages(size), MREMAP_MAYMOVE);
  if (grown == MAP_FAILED) bench::die("the kernel refused %zu bytes", size);
  return grown;
}

template <typename Grow>
std::size_t grow_to_target(Grow grow, std::size_t target, void*& block, std::size_t& size) {
  std::size_t calls = 0;
  const auto step = [&](std::size_t next) {
    block = grow(block, size, next);
    // One word a page is written, and the first word of the block must have moved along.
    auto* words = static_cast<std::uint64_t*>(block);
    if (size == 0) words[0] = 0x600d;
    for (std::size_t at = (size + kPage) / kPage * kPage; at + 8 <= next; at += kPage) {
      words[at / 8] = at;
    }
    if (words[0] != 0x600d) bench::die("realloc lost the block's beginning");
    size = next;
    calls++;
  };
  step(64);
  while (size < target / 8) step(size + (size < (1u << 20) ? 512 : 65536));
  while (size < target) step(size + size / 2 < target ? size + size / 2 : target);
  const auto* words = static_cast<const std::uint64_t*>(block);
  for (std::size_t at = kPage; at + 8 <= size; at += kPage) {
    if (words[at / 8] != at) bench::die("realloc lost the word at %zu", at);
  }
  return calls;
}

template <typename Grow, typename Release>
std::size_t run_buffer(const bench::Options& options, Grow grow, Release release) {
  const std::size_t target = options.scaled(kTarget, 1 << 20);
  std::size_t calls = 0;
  for (unsigned round = 0; round < 2; round++) {
    void* block = nullptr;
    std::size_t size = 0;
    calls += grow_to_target(grow, target, block, size);
    release(block, size);
  }
  return calls;
}

std::size_t run_vectors(const bench::Options& options) {
  constexpr std::size_t kVectors = 12;
  const std::size_t length = options.scaled(600000);
  std::size_t ops = 0;
  for (unsigned round = 0; round < 10; round++) {
    std::vector<std::vector<std::uint64_t>> vectors(kVectors);
    for (std::size_t i = 0; i < length; i++) {
      for (std::size_t v = 0; v < kVectors; v++) {
        // Vectors of unlike length: some stop early and stay as they are between growing ones.
        if (i < length >> (v % 4)) vectors[v].push_back(i ^ v);
      }
    }
    for (std::size_t v = 0; v < kVectors; v++) {
      ops += vectors[v].size();
      for (std::size_t i = 0; i < vectors[v].size(); i += 511) {
        if (vectors[v][i] != (i ^ v)) bench::die("a vector lost its contents");
      }
    }
  }
  return ops;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv, {"realloc", "vectors", "kernel"});
  const double start = bench::now_seconds();
  std::size_t ops = 0;
  if (options.mode == "vectors") {
    ops = run_vectors(options);
  } else if (options.mode == "realloc") {
    ops = run_buffer(options, grow_by_realloc, [](void* block, std::size_t) { std::free(block); });
  } else {
    ops = run_buffer(options, grow_by_kernel, [](void* block, std::size_t size) {
      munmap(block, (size + kPage - 1) / kPage * kPage);
    });
  }
  return bench::Report(ops, bench::now_seconds() - start).print();
}
