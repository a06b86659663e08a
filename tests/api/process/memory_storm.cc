// The limits under 16 threads that allocate all they can get, blocks of every size, from the heap
// and from arenas, and free and hand on what they have. `hard`: option limit_mib is never exceeded,
// by carrel's count and by the kernel's, and memory can be had again afterwards. `soft`: option
// soft_limit_mib keeps what is resident near what is live.
#include <carrel/carrel.h>
#include <sched.h>

#include <atomic>
#include <thread>
#include <vector>

#include "../support/check.h"
#include "../support/override.h"
#include "../support/proc.h"

namespace {

constexpr int kThreads = 16;
constexpr std::size_t kMiB = 1 << 20;
constexpr std::size_t kLimitMib = 64;

std::uint64_t control(const char* name) {
  std::uint64_t value = 0;
  CHECK_EQ(carrel_ctl_read_u64(name, &value), CARREL_OK);
  return value;
}

void set(const char* name, std::uint64_t value) {
  CHECK_EQ(carrel_ctl_write_u64(name, value), CARREL_OK);
}

std::size_t some_size(std::uint64_t random) {
  switch (random % 64) {
    case 0:
      return random >> 8 & (kMiB - 1);
    case 1:
    case 2:
      return random >> 8 & 0xFFFF;
    default:
      return random >> 8 & 0x3FF;
  }
}

struct Shared {
  std::atomic<int> ready{0};  // threads; starting one allocates, so all start before the storm
  std::atomic<bool> stop{false};
  std::atomic<int> done{0};  // threads that will free no more
  std::atomic<long> refused{0};
  std::atomic<long> served{0};
  std::atomic<char*> table[256] = {};
};

void storm(Shared& shared, std::uint64_t state) {
  static constexpr std::size_t kKept = 20000;
  std::vector<char*> kept;
  kept.reserve(kKept);  // before memory is short
  carrel_arena* arena = carrel_arena_create();
  CHECK(arena != nullptr);
  ++shared.ready;
  while (shared.ready <= kThreads) sched_yield();
  while (!shared.stop) {
    const std::uint64_t random = next_random(&state);
    const std::size_t size = some_size(random) + 1;
    char* block =
        static_cast<char*>(random % 5 == 0 ? carrel_arena_alloc(arena, size) : malloc(size));
    if (block == nullptr) {
      CHECK_EQ(errno, ENOMEM);
      ++shared.refused;
    } else {
      ++shared.served;
      memset(block, 1, size);
      kept.push_back(block);
    }
    if (block == nullptr || kept.size() == kKept) {
      for (std::size_t i = 0; i < kept.size() / 2; ++i) {
        free(shared.table[next_random(&state) % 256].exchange(kept.back()));
        kept.pop_back();
      }
    }
  }
  for (char* block : kept) free(block);
  for (auto& entry : shared.table) free(entry.exchange(nullptr));
  ++shared.done;
  while (shared.done < kThreads) sched_yield();  // one may be about to free a block of this arena
  carrel_arena_destroy(arena);
}

/// A block can be made shorter even when there is no memory for a new one; its size is then the
/// new one for whoever checks.
void shrink_what_cannot_move() {
  static void* blocks[1000];
  for (const std::size_t size : {20000u, 3000u, 100000u, 100u}) {
    std::size_t count = 0;
    while (count < 1000 && (blocks[count] = malloc(size)) != nullptr) ++count;
    for (std::size_t i = 0; i < count; ++i) {
      memset(blocks[i], static_cast<int>(i), size);
      void* shorter = realloc(blocks[i], size / 60);
      CHECK(shorter != nullptr);
      CHECK_EQ(*static_cast<unsigned char*>(shorter), static_cast<unsigned char>(i));
      carrel_free_sized(shorter, size / 60);
    }
    CHECK_LE(1u, count);
  }
}

int hard() {
  const long rss_before_kib = rss_kib();
  static Shared shared;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([t] { storm(shared, static_cast<std::uint64_t>(t) + 1); });
  }
  while (shared.ready < kThreads) sched_yield();
  printf("%d threads\n", kThreads);  // whatever output allocates, before memory is short
  ++shared.ready;
  std::uint64_t most = 0;
  long most_rss_kib = 0;
  const long end_ms = now_ms() + 3000;
  for (int looks = 0; now_ms() < end_ms || shared.refused < 1000; ++looks) {
    const std::uint64_t used = control("stats.used_bytes");
    if (used > most) most = used;
    if (looks % 4 == 0) {
      const long rss = rss_kib();
      if (rss > most_rss_kib) most_rss_kib = rss;
    }
    CHECK_LE(used, kLimitMib * kMiB + kThreads * 64 * 1024);
    CHECK_LT(now_ms(), end_ms + 60000);
    sched_yield();
  }
  shared.stop = true;
  for (std::thread& thread : threads) thread.join();
  printf("limit %zu MiB, %ld served, %ld refused, at most %zu KiB used, %ld KiB more resident\n",
         kLimitMib, shared.served.load(), shared.refused.load(),
         static_cast<std::size_t>(most >> 10), most_rss_kib - rss_before_kib);
  // Metadata, stacks and test's own tables come on top of the heap.
  CHECK_LE(most_rss_kib - rss_before_kib, static_cast<long>(kLimitMib + 24) * 1024);
  CHECK_LE(most, kLimitMib * kMiB);
  CHECK_LE(kLimitMib * kMiB / 2, most);
  void* large = malloc(40 * kMiB);
  CHECK(large != nullptr);
  memset(large, 1, 40 * kMiB);
  const std::uint64_t mapped = control("stats.mapped_bytes");
  CHECK(malloc(400 * kMiB) == nullptr);
  CHECK(realloc(large, 900 * kMiB) == nullptr);
  CHECK_EQ(control("stats.mapped_bytes"), mapped);  // what cannot be given is not mapped either
  CHECK(malloc(40 * kMiB) == nullptr);
  CHECK(realloc(large, 90 * kMiB) == nullptr);
  shrink_what_cannot_move();
  set("option.limit_mib", 0);
  void* beyond = malloc(90 * kMiB);
  CHECK(beyond != nullptr);
  free(beyond);
  free(large);
  return 0;
}

int soft() {
  set("option.purge_thread", 0);
  set("option.decay_ms", 20000);
  const std::uint64_t before = control("stats.resident_bytes");
  std::vector<char*> blocks(100000);
  const auto fill_and_free = [&] {
    for (char*& block : blocks) memset(block = static_cast<char*>(malloc(1000)), 1, 1000);
    for (char* block : blocks) free(block);
  };
  fill_and_free();
  const std::uint64_t without = control("stats.resident_bytes") - before;
  CHECK_LE(50 * kMiB, without);
  set("option.soft_limit_mib", 20);
  const long end_ms = now_ms() + 20000;
  std::uint64_t with = without;
  while (with > 25 * kMiB && now_ms() < end_ms) {  // calls that leave the fast path now and then
    for (int i = 0; i < 1000; ++i)
      blocks[static_cast<std::size_t>(i)] = static_cast<char*>(malloc(100));
    for (int i = 0; i < 1000; ++i) free(blocks[static_cast<std::size_t>(i)]);
    sleep_ms(20);
    with = control("stats.resident_bytes") - before;
  }
  printf("resident %zu KiB without the soft limit, %zu KiB with\n",
         static_cast<std::size_t>(without >> 10), static_cast<std::size_t>(with >> 10));
  CHECK_LE(with, 25 * kMiB);
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  require_override();
  CHECK_EQ(count, 2);
  if (strcmp(arguments[1], "soft") == 0) return soft();
  set("option.limit_mib", kLimitMib);
  return hard();
}
