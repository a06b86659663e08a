// Shortage handlers: called before a request fails, with what it says; they free memory and the
// request succeeds; what they ask for themselves fails quietly; errno is kept; threads that run out
// at once are each served. Limits of the process, of arenas, and what the system refuses.
#include <carrel/carrel.h>
#include <malloc.h>

#include <atomic>
#include <new>
#include <thread>
#include <vector>

#include "../support/check.h"
#include "../support/override.h"

namespace {

constexpr std::size_t kMiB = 1 << 20;
constexpr std::size_t kLimitMib = 64;

std::uint64_t control(const char* name) {
  std::uint64_t value = 0;
  CHECK_EQ(carrel_ctl_read_u64(name, &value), CARREL_OK);
  return value;
}

struct Seen {
  std::atomic<int> calls{0};
  carrel_shortage last = {};
  std::atomic<void*> spare{nullptr};  // freed by the first call
  int answer = 1;                     // without a spare
  std::size_t ask_for = 0;            // by the handler itself
};

int on_shortage(void* context, const carrel_shortage* shortage) {
  Seen& seen = *static_cast<Seen*>(context);
  ++seen.calls;
  seen.last = *shortage;
  errno = EBADF;
  if (seen.ask_for != 0) CHECK(carrel_malloc(seen.ask_for) == nullptr);
  void* spare = seen.spare.exchange(nullptr);
  if (spare != nullptr) {
    carrel_free(spare);
    return 1;
  }
  return shortage->attempt < 3 ? seen.answer : 0;
}

/// Every function that can run out, each of which must succeed by the handler's help.
void every_function_is_served() {
  Seen seen;
  CHECK_EQ(carrel_set_shortage_handler(on_shortage, &seen), CARREL_OK);
  const auto served = [&](auto request) {
    const int before = seen.calls;
    seen.spare = malloc(40 * kMiB);
    CHECK(seen.spare != nullptr);
    errno = 0;
    void* block = request();
    CHECK(block != nullptr);
    CHECK_EQ(errno, 0);
    CHECK_EQ(seen.calls, before + 1);
    CHECK_EQ(seen.last.attempt, 1);
    CHECK_EQ(seen.last.cause, CARREL_BEYOND_PROCESS_LIMIT);
    CHECK(seen.last.arena == nullptr);
    CHECK_EQ(seen.last.size, 40 * kMiB);
    free(block);
  };
  const std::uint64_t retries = control("stats.retries");
  served([] { return malloc(40 * kMiB); });
  served([] { return calloc(40, kMiB); });
  served([] { return realloc(malloc(100), 40 * kMiB); });
  served([] { return aligned_alloc(4096, 40 * kMiB); });
  CHECK_EQ(seen.last.alignment, 4096);
  served([] {
    void* block = nullptr;
    CHECK_EQ(posix_memalign(&block, 64, 40 * kMiB), 0);
    return block;
  });
  served([] { return memalign(8192, 40 * kMiB); });
  served([] { return carrel_malloc(40 * kMiB); });
  served([] {
    return carrel_realloc_sized_aligned(carrel_aligned_alloc(64, 100), 100, 40 * kMiB, 64);
  });
  served([] { return ::operator new(40 * kMiB); });
  served([] { return ::operator new(40 * kMiB, std::nothrow); });
  served([] { return ::operator new (40 * kMiB, std::align_val_t{256}); });
  CHECK_EQ(control("stats.retries"), retries + 11);
  CHECK_EQ(carrel_set_shortage_handler(nullptr, nullptr), CARREL_OK);
}

void an_answer_of_no_is_enomem() {
  Seen seen;
  seen.ask_for = 50 * kMiB;
  carrel_set_shortage_handler(on_shortage, &seen);
  void* most = malloc(40 * kMiB);
  CHECK(most != nullptr);
  const std::uint64_t refusals = control("stats.refusals");
  errno = 0;
  CHECK(malloc(40 * kMiB) == nullptr);
  CHECK_EQ(errno, ENOMEM);
  CHECK_EQ(seen.calls, 3);
  CHECK_EQ(seen.last.attempt, 3);
  CHECK_EQ(control("stats.refusals"), refusals + 4);  // one, and three of the handler's own
  // What can never succeed is nobody's shortage.
  CHECK(malloc(opaque_size(SIZE_MAX / 2 + 1)) == nullptr);
  CHECK(calloc(opaque_size(SIZE_MAX / 2), 3) == nullptr);
  CHECK(aligned_alloc(64, opaque_size(SIZE_MAX - 100)) == nullptr);
  CHECK_EQ(seen.calls, 3);
  // Small blocks run out too.
  seen.ask_for = 0;
  std::vector<void*> blocks;
  blocks.reserve(kLimitMib * kMiB / 1000);
  for (void* block; (block = carrel_malloc(1000)) != nullptr;) blocks.push_back(block);
  CHECK_EQ(seen.last.size, 1000);
  CHECK_EQ(seen.last.cause, CARREL_BEYOND_PROCESS_LIMIT);
  for (void* block : blocks) carrel_free(block);
  carrel_set_shortage_handler(nullptr, nullptr);
  free(most);
}

void arenas_have_their_own() {
  Seen of_process;
  Seen of_arena;
  carrel_set_shortage_handler(on_shortage, &of_process);
  carrel_arena* arena = carrel_arena_create();
  CHECK(arena != nullptr);
  CHECK_EQ(carrel_arena_set_limit(arena, 4 * kMiB), CARREL_OK);
  of_process.answer = of_arena.answer = 0;
  CHECK(carrel_arena_alloc(arena, 5 * kMiB) == nullptr);
  CHECK_EQ(of_process.calls, 1);
  CHECK_EQ(of_process.last.cause, CARREL_BEYOND_ARENA_LIMIT);
  CHECK(of_process.last.arena == arena);
  CHECK_EQ(carrel_arena_set_shortage_handler(arena, on_shortage, &of_arena), CARREL_OK);
  CHECK(carrel_arena_aligned_alloc(arena, 128, 5 * kMiB) == nullptr);
  CHECK_EQ(of_process.calls, 1);
  CHECK_EQ(of_arena.calls, 1);
  CHECK_EQ(of_arena.last.alignment, 128);
  of_arena.spare = carrel_arena_alloc(arena, 3 * kMiB);
  CHECK(of_arena.spare != nullptr);
  void* block = carrel_arena_calloc(arena, 1, 3 * kMiB);
  CHECK(block != nullptr);
  CHECK_EQ(of_arena.calls, 2);
  CHECK(carrel_realloc(block, 6 * kMiB) == nullptr);
  CHECK_EQ(of_arena.calls, 3);
  CHECK(of_arena.last.arena == arena);
  CHECK_EQ(of_arena.last.size, 6 * kMiB);
  // Not its own limit: it is asked all the same.
  CHECK_EQ(carrel_arena_set_limit(arena, SIZE_MAX), CARREL_OK);
  CHECK(carrel_arena_alloc(arena, 80 * kMiB) == nullptr);
  CHECK_EQ(of_arena.last.cause, CARREL_BEYOND_PROCESS_LIMIT);
  CHECK_EQ(carrel_arena_set_shortage_handler(arena, nullptr, nullptr), CARREL_OK);
  CHECK(carrel_arena_alloc(arena, 80 * kMiB) == nullptr);
  CHECK_EQ(of_process.calls, 2);
  CHECK_EQ(carrel_arena_set_shortage_handler(nullptr, on_shortage, nullptr), CARREL_BAD_ARGUMENT);
  CHECK_EQ(carrel_arena_destroy(arena), CARREL_OK);
  CHECK_EQ(carrel_arena_set_shortage_handler(arena, on_shortage, nullptr), CARREL_BAD_ARGUMENT);
  // A later arena in its place begins without.
  carrel_arena* next = carrel_arena_create();
  CHECK_EQ(carrel_arena_set_limit(next, kMiB), CARREL_OK);
  CHECK(carrel_arena_alloc(next, 5 * kMiB) == nullptr);
  CHECK_EQ(of_process.calls, 3);
  CHECK_EQ(carrel_arena_destroy(next), CARREL_OK);
  carrel_set_shortage_handler(nullptr, nullptr);
}

/// Threads that share a store of spare blocks: each request that fails takes one of it.
void threads_are_served() {
  static constexpr int kThreads = 8;
  static std::atomic<void*> spares[64];
  static std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  std::atomic<int> ready{0};
  const auto take_spare = [](void*, const carrel_shortage*) {
    for (auto& spare : spares) {
      void* block = spare.exchange(nullptr);
      if (block == nullptr) continue;
      carrel_free(block);
      return 1;
    }
    return 0;
  };
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      void* blocks[4] = {};
      ++ready;
      while (ready <= kThreads) std::this_thread::yield();
      for (void*& block : blocks) {
        block = carrel_malloc(kMiB);
        if (block == nullptr) ++failed;
      }
      for (void* block : blocks) carrel_free(block);
    });
  }
  while (ready < kThreads) std::this_thread::yield();
  for (auto& spare : spares) spare = carrel_malloc(kMiB - 4096);
  void* rest[64];
  std::size_t count = 0;
  while (count < 64 && (rest[count] = carrel_malloc(kMiB)) != nullptr) ++count;
  carrel_set_shortage_handler(take_spare, nullptr);
  ++ready;
  for (std::thread& thread : threads) thread.join();
  carrel_set_shortage_handler(nullptr, nullptr);
  CHECK_EQ(failed, 0);
  for (std::size_t i = 0; i < count; ++i) carrel_free(rest[i]);
  for (auto& spare : spares) carrel_free(spare.exchange(nullptr));
}

void the_system_refuses() {
  Seen seen;
  seen.answer = 0;
  CHECK_EQ(carrel_ctl_write_u64("option.limit_mib", 0), CARREL_OK);
  carrel_set_shortage_handler(on_shortage, &seen);
  CHECK(malloc(opaque_size(std::size_t{1} << 50)) == nullptr);
  CHECK_EQ(seen.calls, 1);
  CHECK_EQ(seen.last.cause, CARREL_SHORT_OF_MEMORY);
  carrel_set_shortage_handler(nullptr, nullptr);
}

}  // namespace

int main() {
  require_override();
  CHECK_EQ(carrel_ctl_write_u64("option.limit_mib", kLimitMib), CARREL_OK);
  every_function_is_served();
  an_answer_of_no_is_enomem();
  arenas_have_their_own();
  threads_are_served();
  the_system_refuses();
  return 0;
}
