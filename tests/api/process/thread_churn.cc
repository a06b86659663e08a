// Threads that come and go: 10,000 short ones whose blocks are freed by others, and threads
// that die with full caches. Their memory must serve those who live.
#include <atomic>
#include <thread>
#include <vector>

#include "../support/check.h"
#include "../support/override.h"
#include "../support/proc.h"

namespace {

constexpr int kBlocks = 60;

struct Batch {
  char* blocks[kBlocks];
};

/// A short life: allocates, frees a third itself, leaves the rest to whoever takes it.
void short_life(uint64_t seed, Batch* batch) {
  uint64_t random = seed;
  for (int i = 0; i < kBlocks; ++i) {
    const size_t size = next_random(&random) % 1500 + 8;
    batch->blocks[i] = static_cast<char*>(malloc(size));
    CHECK(batch->blocks[i] != nullptr);
    memset(batch->blocks[i], 'a' + i % 26, size);
  }
  for (int i = 0; i < kBlocks; i += 3) {
    free(batch->blocks[i]);
    batch->blocks[i] = nullptr;
  }
}

void free_rest(Batch* batch) {
  for (int i = 0; i < kBlocks; ++i) {
    char* block = batch->blocks[i];
    if (block == nullptr) continue;
    CHECK(block[0] == 'a' + i % 26 && block[7] == 'a' + i % 26);
    free(block);
  }
}

void churn() {
  constexpr int kThreads = 10000;
  constexpr int kAtOnce = 4;
  long settled_kib = 0;
  for (int done = 0; done < kThreads; done += kAtOnce) {
    Batch batches[kAtOnce];
    std::vector<std::thread> threads;
    for (int t = 0; t < kAtOnce; ++t) {
      threads.emplace_back(short_life, static_cast<uint64_t>(done + t + 1), &batches[t]);
    }
    for (std::thread& thread : threads) thread.join();
    if (done / kAtOnce % 2 == 0) {
      for (Batch& batch : batches) free_rest(&batch);
    } else {
      std::thread([&batches] {
        for (Batch& batch : batches) free_rest(&batch);
      }).join();
    }
    if (done == kThreads / 10) settled_kib = rss_kib();
  }
  const long end_kib = rss_kib();
  fprintf(stderr, "10,000 threads: %ld KiB after the first tenth, %ld at the end\n", settled_kib,
          end_kib);
  CHECK_LE(end_kib, settled_kib + 4096);
}

/// One generation after another allocates as much as the last one freed before it died.
void generations(size_t size, bool free_elsewhere) {
  const size_t count = (size_t{32} << 20) / size;
  std::vector<void*> blocks(count);
  long first_kib = 0;
  for (int generation = 0; generation < 5; ++generation) {
    long full_kib = 0;
    std::thread([&] {
      for (void*& block : blocks) {
        block = malloc(size);
        CHECK(block != nullptr);
        memset(block, 1, size);
      }
      full_kib = rss_kib();
      if (!free_elsewhere) {
        for (void* block : blocks) free(block);
      }
    }).join();
    if (free_elsewhere) {
      std::thread([&] {
        for (void* block : blocks) free(block);
      }).join();
    }
    if (generation == 0) first_kib = full_kib;
    CHECK_LE(full_kib, first_kib + 8192);
  }
}

}  // namespace

int main() {
  require_override();
  churn();
  for (const size_t size : {size_t{24}, size_t{200}, size_t{3000}, size_t{20000}, size_t{100000}}) {
    generations(size, false);
    generations(size, true);
  }
  return 0;
}
