// fork at random moments of a multi-threaded process, from two threads, over and over: every
// child must find a heap it can allocate from, free into, start threads on and fork again;
// the parent must not notice.
//
// A child that hangs is ended after a while and counted as a failure.
// Usage: fork_storm [SECONDS [SEED]]
#include <pthread.h>

#include <atomic>
#include <thread>
#include <vector>

#include "../support/check.h"
#include "../support/child.h"
#include "../support/override.h"
#include "../support/proc.h"

namespace {

constexpr int kWorkers = 4;
constexpr int kForkers = 2;
constexpr int kSlots = 512;
constexpr int kLeastForks = 100;
constexpr int kChildSeconds = 20;

// Who owns a block must be settled at a fork, as in any program: the kernel copies one page after
// another while other threads go on. So the lock is held for an exchange, and across a fork;
// malloc and free are called outside of it, at any moment.
pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;
char* slots[kSlots];
std::atomic<bool> stop{false};
std::atomic<int> forks{0};

size_t random_size(uint64_t* random) {
  const uint64_t draw = next_random(random) % 128;
  if (draw == 0) return next_random(random) % (300 << 10);
  if (draw < 8) return next_random(random) % (40 << 10);
  return next_random(random) % 700;
}

/// A block whose first bytes tell how it was filled, so that whoever takes it can check.
char* make_block(uint64_t* random) {
  const size_t size = random_size(random) + 16;
  char* block = static_cast<char*>(malloc(size));
  CHECK(block != nullptr);
  const uint32_t seed = static_cast<uint32_t>(next_random(random));
  memcpy(block, &size, sizeof size);
  memcpy(block + sizeof size, &seed, sizeof seed);
  fill_block(block + 16, size - 16, seed);
  return block;
}

void check_and_free(char* block) {
  if (block == nullptr) return;
  size_t size = 0;
  uint32_t seed = 0;
  memcpy(&size, block, sizeof size);
  memcpy(&seed, block + sizeof size, sizeof seed);
  CHECK(block_is_intact(block + 16, size - 16, seed));
  free(block);
}

/// Puts a block into a slot and returns what was there.
char* swap_in(char*& slot, char* block) {
  pthread_mutex_lock(&slots_lock);
  char* before = slot;
  slot = block;
  pthread_mutex_unlock(&slots_lock);
  return before;
}

void exchange(uint64_t* random, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    char* mine = make_block(random);
    check_and_free(swap_in(slots[next_random(random) % kSlots], mine));
  }
}

void worker(uint64_t seed) {
  uint64_t random = seed;
  while (!stop.load(std::memory_order_relaxed)) exchange(&random, 64);
}

/// What a child does with the heap it was given. Ends the process.
[[noreturn]] void child_main(uint64_t seed, int depth) {
  uint64_t random = seed;
  exchange(&random, 100);
  {
    std::vector<std::thread> threads;
    for (uint64_t t = 1; t <= 3; ++t) {
      threads.emplace_back([seed, t] {
        uint64_t own = seed * 7 + t;
        exchange(&own, 100);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  // All that the parent's threads left in the slots is now this process's to free.
  for (char*& slot : slots) check_and_free(swap_in(slot, nullptr));
  if (depth > 0) {
    const pid_t grandchild = fork();
    CHECK(grandchild >= 0);
    if (grandchild == 0) child_main(seed + 1, depth - 1);
    expect_success(grandchild, kChildSeconds);
  }
  if (seed % 4 == 0) exit(0);  // through atexit handlers and destructors
  _exit(0);
}

void forker(uint64_t seed, long end_ms) {
  uint64_t random = seed;
  for (int i = 0; i < kLeastForks || now_ms() < end_ms; ++i) {
    exchange(&random, static_cast<int>(next_random(&random) % 40));
    const uint64_t child_seed = next_random(&random);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) child_main(child_seed, i % 8 == 0 ? 1 : 0);
    expect_success(child, kChildSeconds);
    ++forks;
  }
}

void* handler_block;

void allocate_in_handler() {
  free(handler_block);
  handler_block = malloc(3000);
  CHECK(handler_block != nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  require_override();
  go_on_in_group();
  const long seconds = argc > 1 ? atol(argv[1]) : 6;
  const uint64_t seed = argc > 2 ? strtoull(argv[2], nullptr, 10) : 20240607;
  const long end_ms = now_ms() + seconds * 1000;
  fprintf(stderr, "replay: %s %ld %llu\n", argv[0], seconds, static_cast<unsigned long long>(seed));
  // A program's own handlers may allocate, before and after, in the parent and the child.
  CHECK_EQ(pthread_atfork(allocate_in_handler, allocate_in_handler, allocate_in_handler), 0);
  CHECK_EQ(pthread_atfork([] { pthread_mutex_lock(&slots_lock); },
                          [] { pthread_mutex_unlock(&slots_lock); },
                          [] { pthread_mutex_unlock(&slots_lock); }),
           0);
  std::vector<std::thread> workers;
  for (uint64_t w = 1; w <= kWorkers; ++w) workers.emplace_back(worker, seed * 100 + w);
  std::vector<std::thread> forkers;
  for (uint64_t f = 1; f < kForkers; ++f) forkers.emplace_back(forker, seed * 200 + f, end_ms);
  forker(seed * 200, end_ms);
  for (std::thread& thread : forkers) thread.join();
  stop = true;
  for (std::thread& thread : workers) thread.join();
  for (char*& slot : slots) check_and_free(swap_in(slot, nullptr));
  fprintf(stderr, "%d forks\n", forks.load());
  return 0;
}
