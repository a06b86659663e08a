// 300 threads alive at once on few cores, replacing blocks in a shared table so that nearly
// every free is another thread's: all of them get on, nothing is corrupted, and memory stays
// bounded although most threads are not running at any moment.
#include <atomic>
#include <barrier>
#include <thread>
#include <vector>

#include "../support/check.h"
#include "../support/override.h"
#include "../support/proc.h"

namespace {

constexpr int kThreads = 300;
constexpr size_t kSlots = 65536;
constexpr int kOperations = 40000;
constexpr long kLimitKib = 300 * 1024;

std::atomic<char*> table[kSlots];

void worker(uint64_t seed, std::barrier<>* start) {
  uint64_t random = seed;
  start->arrive_and_wait();
  for (int i = 0; i < kOperations; ++i) {
    const size_t size = 16 + next_random(&random) % 900;
    char* block = static_cast<char*>(malloc(size));
    CHECK(block != nullptr);
    memcpy(block, &size, sizeof size);
    block[8] = 'k';
    block[size - 1] = 'k';
    char* old = table[next_random(&random) % kSlots].exchange(block);
    if (old == nullptr) continue;
    size_t old_size = 0;
    memcpy(&old_size, old, sizeof old_size);
    CHECK(old_size >= 16 && old_size < 916);
    CHECK(old[8] == 'k' && old[old_size - 1] == 'k');
    free(old);
  }
}

}  // namespace

int main() {
  require_override();
  std::barrier<> start(kThreads + 1);
  std::vector<std::thread> threads;
  for (uint64_t t = 1; t <= kThreads; ++t) threads.emplace_back(worker, t, &start);
  CHECK_GE(thread_count(), kThreads + 1);
  start.arrive_and_wait();
  for (std::thread& thread : threads) thread.join();
  const long peak_kib = proc_number("/proc/self/status", "VmHWM:");
  fprintf(stderr, "300 threads: peak %ld KiB\n", peak_kib);
  CHECK_LE(peak_kib, kLimitKib);
  for (std::atomic<char*>& slot : table) free(slot.exchange(nullptr));
  return 0;
}
