// Budgets: exact for blocks of all kinds, nested, with frees by others, with handlers and
// new-handlers, under a profile and with sample hooks, over thread exits and forks. Runs on the
// secure build too.
#include <carrel/carrel.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <carrel/budget.hpp>
#include <cstring>
#include <new>
#include <random>
#include <thread>
#include <vector>

#include "../support/check.h"
#include "../support/override.h"

namespace {

constexpr std::size_t kKiB = 1024;
constexpr std::size_t kMiB = 1 << 20;

bool secure = false;

carrel_budget_stats stats_of(const carrel_budget* budget) {
  carrel_budget_stats stats;
  CHECK_EQ(carrel_budget_read(budget, &stats, sizeof stats), CARREL_OK);
  CHECK(stats.used_bytes <= static_cast<std::int64_t>(stats.bound_bytes));
  return stats;
}

carrel_budget* begin(std::size_t bytes) {
  carrel_budget* budget = nullptr;
  CHECK_EQ(carrel_budget_begin(bytes, &budget), CARREL_OK);
  CHECK(budget != nullptr);
  return budget;
}
void end(carrel_budget* budget) { CHECK_EQ(carrel_budget_end(budget), CARREL_OK); }

/// Bytes that a budget counts for a block of this size from malloc.
std::size_t cost_of(std::size_t size) {
  carrel_budget* budget = begin(64 * kMiB);
  void* block = malloc(size);
  CHECK(block != nullptr);
  const auto cost = static_cast<std::size_t>(stats_of(budget).used_bytes);
  CHECK(cost >= malloc_usable_size(block));
  if (!secure) CHECK_EQ(cost, malloc_usable_size(block));
  free(block);
  CHECK_EQ(stats_of(budget).used_bytes, 0);
  end(budget);
  return cost;
}

/// As many blocks fit as their sum allows, and not one more; each that is freed makes room for one.
void exact_for_every_size() {
  for (const std::size_t size : {0u, 1u, 16u, 100u, 1000u, 5000u, 30'000u, 40'000u, 300'000u}) {
    const std::size_t cost = cost_of(size);
    constexpr std::size_t kFits = 20;
    carrel_budget* budget = begin(kFits * cost + cost - 1);
    void* blocks[kFits];
    for (void*& block : blocks) CHECK((block = malloc(size)) != nullptr);
    errno = 0;
    CHECK(malloc(size) == nullptr);
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(stats_of(budget).used_bytes, kFits * cost);
    CHECK_EQ(stats_of(budget).room_bytes, cost - 1);
    for (int i = 0; i < 1000; ++i) {
      free(blocks[i % kFits]);
      CHECK((blocks[i % kFits] = malloc(size)) != nullptr);
      CHECK(malloc(size) == nullptr);
    }
    for (void* block : blocks) free(block);
    const carrel_budget_stats stats = stats_of(budget);
    CHECK_EQ(stats.used_bytes, 0);
    CHECK_EQ(stats.peak_bytes, kFits * cost);
    CHECK_EQ(stats.refusals, 1001);
    end(budget);
  }
}

void every_function_is_bound() {
  carrel_budget* budget = begin(100 * kKiB);
  const auto refused = [&](auto request) {
    const std::uint64_t before = stats_of(budget).refusals;
    errno = 0;
    CHECK(request() == nullptr);
    CHECK_EQ(errno, ENOMEM);
    CHECK(stats_of(budget).refusals > before);
    CHECK_EQ(stats_of(budget).used_bytes, 0);
  };
  refused([] { return calloc(200, kKiB); });
  refused([] { return aligned_alloc(4096, 200 * kKiB); });
  refused([] { return memalign(64 * kKiB, 200 * kKiB); });
  refused([] { return valloc(200 * kKiB); });
  refused([] { return realloc(nullptr, 200 * kKiB); });
  refused([] { return carrel_malloc(200 * kKiB); });
  refused([] { return carrel_calloc(200, kKiB); });
  refused([] { return carrel_aligned_alloc(64, 200 * kKiB); });
  void* result = nullptr;
  CHECK_EQ(posix_memalign(&result, 64, 200 * kKiB), ENOMEM);
  CHECK(::operator new(200 * kKiB, std::nothrow) == nullptr);
  bool thrown = false;
  try {
    ::operator delete(::operator new(200 * kKiB));
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  CHECK(thrown);
  // What fits is served, counted and zeroed as ever.
  for (int i = 0; i < 100; ++i) {
    auto* zeroed = static_cast<unsigned char*>(calloc(1, 50'000));
    CHECK(zeroed != nullptr && zeroed[0] == 0 && zeroed[49'999] == 0);
    memset(zeroed, 1, 50'000);
    auto* small = static_cast<unsigned char*>(calloc(3, 1000));
    CHECK(small != nullptr && small[0] == 0 && small[2999] == 0);
    memset(small, 1, 3000);
    void* aligned = aligned_alloc(512, 3000);
    CHECK(aligned != nullptr && reinterpret_cast<std::uintptr_t>(aligned) % 512 == 0);
    void* coarse = aligned_alloc(16 * kKiB, 1000);
    CHECK(coarse != nullptr && reinterpret_cast<std::uintptr_t>(coarse) % (16 * kKiB) == 0);
    CHECK(stats_of(budget).used_bytes >= 50'000 + 3000 + 3000 + 1000);
    free(zeroed);
    free(small);
    free(aligned);
    free(coarse);
    free(nullptr);
    CHECK_EQ(stats_of(budget).used_bytes, 0);
  }
  // Arenas are apart.
  carrel_arena* arena = carrel_arena_create();
  void* apart = carrel_arena_alloc(arena, kMiB);
  CHECK(apart != nullptr);
  free(apart);
  CHECK_EQ(carrel_arena_destroy(arena), CARREL_OK);
  CHECK_EQ(stats_of(budget).used_bytes, 0);
  end(budget);
}

void realloc_is_counted() {
  carrel_budget* budget = begin(kMiB);
  auto* block = static_cast<char*>(malloc(100));
  std::size_t kept = 100;
  memset(block, 7, kept);
  for (const std::size_t size :
       {90u, 400u, 3000u, 20'000u, 50'000u, 60'000u, 400'000u, 90'000u, 300u, 20u}) {
    block = static_cast<char*>(realloc(block, size));
    CHECK(block != nullptr);
    if (size < kept) kept = size;
    for (std::size_t i = 0; i < kept; ++i) CHECK_EQ(block[i], 7);
    const std::int64_t used = stats_of(budget).used_bytes;
    CHECK(used >= static_cast<std::int64_t>(malloc_usable_size(block)));
    if (!secure) CHECK_EQ(used, malloc_usable_size(block));
  }
  // Refused: the block stays, and is still counted.
  const std::int64_t before = stats_of(budget).used_bytes;
  CHECK(realloc(block, 2 * kMiB) == nullptr);
  CHECK_EQ(stats_of(budget).used_bytes, before);
  for (std::size_t i = 0; i < kept; ++i) CHECK_EQ(block[i], 7);
  // A large block that grows needs room for the growth, where it need not be copied.
  block = static_cast<char*>(realloc(block, 300 * kKiB));
  CHECK(block != nullptr);
  block[0] = 9;
  CHECK(realloc(block, kMiB + 1) == nullptr);
  CHECK_EQ(block[0], 9);
  if (!secure) {
    block = static_cast<char*>(realloc(block, 900 * kKiB));
    CHECK(block != nullptr);
    CHECK_EQ(block[0], 9);
    CHECK_EQ(stats_of(budget).used_bytes, 900 * kKiB);
  }
  // Shrinking is always possible.
  block = static_cast<char*>(realloc(block, 64 * kKiB));
  CHECK(block != nullptr);
  CHECK_EQ(stats_of(budget).used_bytes, 64 * kKiB);
  free(block);
  CHECK_EQ(stats_of(budget).used_bytes, 0);
  end(budget);
}

/// Against a sum that is kept by hand: nothing drifts.
void nothing_drifts(unsigned seed) {
  std::mt19937 random(seed);
  std::vector<void*> blocks(200);
  carrel_budget* budget = begin(2 * kMiB);
  std::uint64_t refused = 0;
  for (int step = 0; step < 40'000; ++step) {
    void*& block = blocks[random() % blocks.size()];
    const std::size_t size = random() % (random() % 50 == 0 ? 200'000 : 3000);
    switch (random() % 4) {
      case 0:
        free(block);
        block = nullptr;
        break;
      case 1: {
        void* next = realloc(block, size + 1);
        if (next == nullptr) ++refused;
        if (next != nullptr) block = next;
        break;
      }
      case 2:
        if (block == nullptr && (block = calloc(1, size)) == nullptr) ++refused;
        break;
      default:
        if (block == nullptr) block = aligned_alloc(std::size_t{1} << random() % 14, size);
    }
    if (step % 64 == 0 && !secure) {
      std::size_t sum = 0;
      for (void* each : blocks) sum += malloc_usable_size(each);
      CHECK_EQ(stats_of(budget).used_bytes, sum);
    }
  }
  CHECK(stats_of(budget).peak_bytes <= 2 * kMiB);
  for (void* block : blocks) free(block);
  CHECK_EQ(stats_of(budget).used_bytes, 0);
  end(budget);
}

void they_lie_one_in_another() {
  void* before = malloc(10 * kKiB);
  carrel_budget* outer = begin(100 * kKiB);
  void* first = malloc(40 * kKiB);
  carrel_budget* inner = begin(kMiB);  // more than is left around it
  CHECK_EQ(stats_of(inner).room_bytes, 60 * kKiB);
  CHECK(malloc(64 * kKiB) == nullptr);
  CHECK_EQ(stats_of(inner).refusals, 1);
  CHECK_EQ(stats_of(outer).refusals, 0);
  carrel_budget* narrow = begin(36 * kKiB);
  CHECK(malloc(40 * kKiB) == nullptr);
  void* second = malloc(36 * kKiB);
  CHECK(second != nullptr);
  CHECK_EQ(stats_of(narrow).used_bytes, 36 * kKiB);
  CHECK_EQ(stats_of(outer).used_bytes, 76 * kKiB);
  std::uint64_t room = 1;
  CHECK_EQ(carrel_ctl_read_u64("thread.budget_room_bytes", &room), CARREL_OK);
  CHECK_EQ(room, 0);
  free(second);
  end(narrow);
  CHECK_EQ(carrel_budget_end(narrow), CARREL_BAD_ARGUMENT);
  CHECK_EQ(stats_of(outer).peak_bytes, 76 * kKiB);
  CHECK_EQ(stats_of(inner).peak_bytes, 36 * kKiB);
  // What was there before makes room when it goes.
  free(first);
  free(before);
  CHECK(stats_of(outer).used_bytes < 0);
  CHECK(stats_of(inner).used_bytes < stats_of(outer).used_bytes);
  void* most = malloc(104 * kKiB);
  CHECK(most != nullptr);
  free(most);
  // Ending the outer one ends all.
  begin(10);
  end(outer);
  carrel_budget_stats stats;
  CHECK_EQ(carrel_budget_read(inner, &stats, sizeof stats), CARREL_BAD_ARGUMENT);
  CHECK_EQ(carrel_ctl_read_u64("thread.budget_room_bytes", &room), CARREL_OK);
  CHECK_EQ(room, UINT64_MAX);
  void* block = malloc(10 * kMiB);
  CHECK(block != nullptr);
  free(block);
}

void bad_arguments() {
  carrel_budget* budget = nullptr;
  CHECK_EQ(carrel_budget_begin(100, nullptr), CARREL_BAD_ARGUMENT);
  CHECK_EQ(carrel_budget_begin(SIZE_MAX, &budget), CARREL_OUT_OF_RANGE);
  CHECK_EQ(carrel_budget_end(nullptr), CARREL_BAD_ARGUMENT);
  budget = begin(PTRDIFF_MAX);
  CHECK_EQ(carrel_budget_read(budget, nullptr, 8), CARREL_BAD_ARGUMENT);
  std::thread([budget] {
    carrel_budget_stats stats;
    CHECK_EQ(carrel_budget_read(budget, &stats, sizeof stats), CARREL_BAD_ARGUMENT);
    CHECK_EQ(carrel_budget_end(budget), CARREL_BAD_ARGUMENT);
  }).join();
  carrel_budget* none = begin(0);
  CHECK(malloc(1) == nullptr);
  end(none);
  end(budget);
}

int give_spare(void* context, const carrel_shortage* shortage) {
  CHECK_EQ(shortage->cause, CARREL_BEYOND_BUDGET);
  void** spare = static_cast<void**>(context);
  if (*spare == nullptr) return 0;
  free(*spare);
  *spare = nullptr;
  return 1;
}
void* reserve = nullptr;
void give_reserve() {
  free(reserve);
  reserve = nullptr;
  std::set_new_handler(nullptr);
}

void handlers_are_asked() {
  carrel::Budget budget(kMiB);
  for (const std::size_t size : {2000u, 600'000u}) {
    void* spare = malloc(kMiB - 8 * kKiB);
    CHECK(spare != nullptr);
    std::vector<void*> rest;
    rest.reserve(8);
    while (void* block = malloc(2000)) rest.push_back(block);
    CHECK_EQ(carrel_set_shortage_handler(give_spare, &spare), CARREL_OK);
    void* served = malloc(size);
    CHECK(served != nullptr && spare == nullptr);
    CHECK(malloc(2 * kMiB) == nullptr);
    CHECK_EQ(carrel_set_shortage_handler(nullptr, nullptr), CARREL_OK);
    free(served);
    for (void* block : rest) free(block);
  }
  reserve = malloc(kMiB / 2);
  std::set_new_handler(give_reserve);
  ::operator delete(::operator new(kMiB * 3 / 4));
  CHECK(reserve == nullptr);
}

/// A handler may end the budget that the request is in.
int end_it(void* context, const carrel_shortage*) {
  return carrel_budget_end(static_cast<carrel_budget*>(context)) == CARREL_OK ? 1 : 0;
}
void a_handler_may_end_the_budget() {
  for (const std::size_t size : {100u, 100'000u}) {
    carrel_budget* budget = begin(16);
    CHECK_EQ(carrel_set_shortage_handler(end_it, budget), CARREL_OK);
    void* block = malloc(size);
    CHECK(block != nullptr);
    CHECK_EQ(carrel_set_shortage_handler(nullptr, nullptr), CARREL_OK);
    CHECK_EQ(carrel_budget_end(budget), CARREL_BAD_ARGUMENT);
    free(block);
  }
}

void other_threads_are_free_and_their_frees_do_not_count() {
  carrel_budget* budget = begin(kMiB);
  void* mine = malloc(500 * kKiB);
  void* theirs = nullptr;
  std::atomic<int> turn{0};
  // Not std::thread: what starting one allocates would count.
  pthread_t other;
  struct Shared {
    void*& mine;
    void*& theirs;
  } shared{mine, theirs};
  const std::int64_t before = stats_of(budget).used_bytes;
  CHECK_EQ(pthread_create(
               &other, nullptr,
               [](void* context) -> void* {
                 auto& both = *static_cast<Shared*>(context);
                 free(both.mine);
                 both.theirs = malloc(10 * kMiB);
                 CHECK(both.theirs != nullptr);
                 return nullptr;
               },
               &shared),
           0);
  pthread_join(other, nullptr);
  CHECK(stats_of(budget).used_bytes >= before);  // a thread's stack may have been allocated
  free(theirs);
  CHECK(stats_of(budget).used_bytes < -9 * static_cast<std::int64_t>(kMiB));
  end(budget);
}

void a_thread_may_end_within_one() {
  for (int i = 0; i < 200; ++i) {
    std::thread([i] {
      begin(100 * kKiB);
      begin(50 * kKiB);
      void* block = malloc(1000);
      CHECK(malloc(60 * kKiB) == nullptr);
      if (i % 2 == 0) free(block);
      if (i % 3 == 0) pthread_exit(nullptr);
    }).join();
  }
  // Its successor, which may have its cache, is as free as any.
  std::thread([] {
    void* block = malloc(10 * kMiB);
    CHECK(block != nullptr);
    free(block);
  }).join();
}

void under_a_profile() {
  if (secure) return;
  // Either may begin and end first.
  carrel_budget* budget = begin(kMiB);
  CHECK_EQ(carrel_profile_start(4096), CARREL_OK);
  nothing_drifts(3);
  CHECK_EQ(carrel_profile_stop(), CARREL_OK);
  nothing_drifts(4);
  end(budget);
  CHECK_EQ(carrel_profile_start(1), CARREL_OK);
  nothing_drifts(5);
  exact_for_every_size();
  nothing_drifts(6);
  CHECK_EQ(carrel_profile_stop(), CARREL_OK);
  std::uint64_t samples = 0;
  CHECK_EQ(carrel_ctl_read_u64("profile.samples", &samples), CARREL_OK);
  CHECK(samples < 100);
}

void a_child_has_it_too() {
  carrel_budget* budget = begin(100 * kKiB);
  const pid_t child = fork();
  if (child == 0) {
    CHECK(malloc(200 * kKiB) == nullptr);
    end(budget);
    CHECK(malloc(200 * kKiB) != nullptr);
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(malloc(200 * kKiB) == nullptr);
  end(budget);
}

}  // namespace

int main() {
  require_override();
  secure = carrel_good_size(100) == 100;
  bad_arguments();
  exact_for_every_size();
  every_function_is_bound();
  realloc_is_counted();
  nothing_drifts(1);
  nothing_drifts(2);
  they_lie_one_in_another();
  handlers_are_asked();
  a_handler_may_end_the_budget();
  other_threads_are_free_and_their_frees_do_not_count();
  a_thread_may_end_within_one();
  under_a_profile();
  a_child_has_it_too();
  return 0;
}
