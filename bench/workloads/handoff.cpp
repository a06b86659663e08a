// Producers and consumers: every block is freed by another thread than the one that allocated it.
// 1to1, fan-in (several producers, one consumer) and fan-out (one producer, several consumers).
// Blocks travel through single-producer single-consumer rings that publish a batch at a time, so
// that the queue costs a few instructions a block and takes no lock.
#include <memory>

#include "bench.hpp"

namespace {

constexpr std::size_t kRing = 4096;
constexpr std::size_t kBatch = 64;

struct Ring {
  alignas(64) std::atomic<std::size_t> written{0};
  alignas(64) std::atomic<std::size_t> read{0};
  alignas(64) void* slots[kRing];
};

// Blocks of up to a kibibyte, small ones more often.
void produce_batch(Ring& ring, bench::Rng& rng) {
  const std::size_t at = ring.written.load(std::memory_order_relaxed);
  while (at - ring.read.load(std::memory_order_acquire) > kRing - kBatch) sched_yield();
  for (std::size_t i = 0; i < kBatch; i++) {
    ring.slots[(at + i) % kRing] = bench::Sealed::make(rng.program_size(16, 1024));
  }
  ring.written.store(at + kBatch, std::memory_order_release);
}

// Frees what has arrived; the number of blocks, 0 when the ring is empty.
std::size_t consume(Ring& ring) {
  const std::size_t from = ring.read.load(std::memory_order_relaxed);
  const std::size_t to = ring.written.load(std::memory_order_acquire);
  for (std::size_t i = from; i != to; i++) bench::Sealed::check_and_free(ring.slots[i % kRing]);
  ring.read.store(to, std::memory_order_release);
  return to - from;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv, {"1to1", "fan-in", "fan-out"});
  const unsigned rings = options.mode == "1to1" ? 1 : (options.threads != 0 ? options.threads : 4);
  const std::size_t batches = options.scaled(130000.0 / rings);
  const std::size_t per_ring = batches * kBatch;
  auto ring = std::make_unique<Ring[]>(rings);
  const bool one_producer = options.mode == "fan-out";

  const auto produce = [&](unsigned first, unsigned last) {
    bench::Rng rng(options.seed + first);
    for (std::size_t batch = 0; batch < batches; batch++) {
      for (unsigned i = first; i < last; i++) produce_batch(ring[i], rng);
    }
  };
  const auto drain = [&](unsigned first, unsigned last) {
    std::size_t left = per_ring * (last - first);
    while (left > 0) {
      std::size_t got = 0;
      for (unsigned i = first; i < last; i++) got += consume(ring[i]);
      if (got == 0) sched_yield();
      left -= got;
    }
  };
  const double seconds = bench::run_threads(rings + 1, [&](unsigned i) {
    if (i == rings) return one_producer ? produce(0, rings) : drain(0, rings);
    return one_producer ? drain(i, i + 1) : produce(i, i + 1);
  });
  return bench::Report(per_ring * rings, seconds).print();
}
