// Blocks allocated by some threads and freed by others, for a while: resident memory stays
// bounded by what is in flight, whoever does the freeing, and a thread that only frees
// neither hoards nor grows.
//
// Usage: producer_consumer PRODUCERS CONSUMERS SECONDS | producer_consumer generations
#include <atomic>
#include <thread>
#include <vector>

#include "../support/check.h"
#include "../support/override.h"
#include "../support/proc.h"

namespace {

constexpr size_t kSlots = 4096;
std::atomic<char*> slots[kSlots];
std::atomic<bool> stop_producing{false};
std::atomic<bool> stop_consuming{false};
std::atomic<long> produced{0};
std::atomic<long> consumed{0};

void produce(uint64_t seed) {
  uint64_t random = seed;
  while (!stop_producing.load(std::memory_order_relaxed)) {
    const size_t size = 16 + next_random(&random) % (next_random(&random) % 64 == 0 ? 20000 : 500);
    char* block = static_cast<char*>(malloc(size));
    CHECK(block != nullptr);
    memset(block, 'b', size);
    for (;;) {
      char* expected = nullptr;
      std::atomic<char*>& slot = slots[next_random(&random) % kSlots];
      if (slot.load(std::memory_order_relaxed) == nullptr &&
          slot.compare_exchange_strong(expected, block, std::memory_order_release)) {
        break;
      }
      if (stop_producing.load(std::memory_order_relaxed)) {
        free(block);
        return;
      }
    }
    produced.fetch_add(1, std::memory_order_relaxed);
  }
}

void consume() {
  while (!stop_consuming.load(std::memory_order_relaxed)) {
    bool found = false;
    for (std::atomic<char*>& slot : slots) {
      if (slot.load(std::memory_order_relaxed) == nullptr) continue;
      char* block = slot.exchange(nullptr, std::memory_order_acquire);
      if (block == nullptr) continue;
      CHECK(block[0] == 'b' && block[15] == 'b');
      free(block);
      consumed.fetch_add(1, std::memory_order_relaxed);
      found = true;
    }
    if (!found) std::this_thread::yield();
  }
}

void pipeline(int producers, int consumers, long seconds) {
  std::vector<std::thread> makers, takers;
  for (int i = 0; i < producers; ++i) makers.emplace_back(produce, static_cast<uint64_t>(i) + 1);
  for (int i = 0; i < consumers; ++i) takers.emplace_back(consume);
  const long samples = seconds * 10;
  long early_kib = 0, late_kib = 0;
  for (long i = 0; i < samples; ++i) {
    sleep_ms(100);
    const long now_kib = rss_kib();
    long& peak = i < samples / 3 ? early_kib : late_kib;
    if (now_kib > peak) peak = now_kib;
  }
  stop_producing = true;
  for (std::thread& thread : makers) thread.join();
  stop_consuming = true;
  for (std::thread& thread : takers) thread.join();
  for (std::atomic<char*>& slot : slots) free(slot.exchange(nullptr));
  fprintf(stderr, "%d:%d, %ld blocks: peak %ld KiB in the first third, %ld after\n", producers,
          consumers, produced.load(), early_kib, late_kib);
  CHECK_GE(consumed.load(), 10000);
  CHECK_LE(late_kib, early_kib + 4096);
  // In flight: at most kSlots blocks of about 400 bytes on average, plus caches.
  CHECK_LE(late_kib, 40 * 1024);
}

/// One thread allocates, another only frees, time and again: each round must find the
/// memory of the round before.
void generations() {
  std::vector<void*> blocks;
  long first_kib = 0;
  for (int round = 0; round < 8; ++round) {
    for (const size_t size : {size_t{40}, size_t{320}, size_t{5000}}) {
      blocks.assign((size_t{40} << 20) / size, nullptr);
      for (void*& block : blocks) {
        block = malloc(size);
        CHECK(block != nullptr);
        memset(block, 1, size);
      }
      const long full_kib = rss_kib();
      if (first_kib == 0) first_kib = full_kib;
      // Other sizes leave pages that this one can't use at once: some slack, no growth.
      CHECK_LE(full_kib, first_kib + 32 * 1024);
      std::thread([&blocks] {
        for (void* block : blocks) free(block);
      }).join();
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  require_override();
  if (argc == 2 && strcmp(argv[1], "generations") == 0) {
    generations();
  } else if (argc == 4) {
    pipeline(atoi(argv[1]), atoi(argv[2]), atol(argv[3]));
  } else {
    fprintf(stderr, "usage: %s PRODUCERS CONSUMERS SECONDS | generations\n", argv[0]);
    return 2;
  }
  return 0;
}
