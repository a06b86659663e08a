// Memory comes back by default: one second after a 500 MB burst of small blocks was freed,
// with no allocator call in between, at most 5% of it is still resident, and none of it
// hides as LazyFree.
//
// Modes: "main" (one thread does all), "threads" (four allocate and free their own),
// "remote" (a fifth frees what four allocated), "blocked" (threads that freed stay alive,
// blocked, with their caches), "child" (in a forked child whose parent had a helper thread).
#include <sys/mman.h>

#include <atomic>
#include <semaphore>
#include <thread>
#include <vector>

#include "../support/check.h"
#include "../support/child.h"
#include "../support/override.h"
#include "../support/proc.h"

namespace {

constexpr size_t kBurstBytes = size_t{500} << 20;
constexpr size_t kMaxBlocks = size_t{4} << 20;
constexpr int kThreads = 4;

/// The burst's pointers, outside the heap that is measured.
struct Burst {
  void** blocks;
  size_t count = 0;
  Burst() {
    void* memory = mmap(nullptr, kMaxBlocks * sizeof(void*), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    blocks = static_cast<void**>(memory);
  }
  ~Burst() { munmap(blocks, kMaxBlocks * sizeof(void*)); }

  void allocate(size_t bytes, uint64_t seed) {
    uint64_t random = seed;
    for (size_t total = 0; total < bytes;) {
      const size_t size = 16 + next_random(&random) % 500;
      CHECK(count < kMaxBlocks);
      void* block = malloc(size);
      CHECK(block != nullptr);
      memset(block, 1, size);
      blocks[count++] = block;
      total += size;
    }
  }
  void release() {
    for (size_t i = 0; i < count; ++i) free(blocks[i]);
    count = 0;
  }
};

/// Watches resident memory for one second, reading /proc only: no allocator call.
void expect_return(long base_kib, long peak_kib) {
  const long burst_kib = peak_kib - base_kib;
  CHECK_GE(burst_kib, static_cast<long>(kBurstBytes >> 10) * 9 / 10);
  long idle_kib = rss_kib();
  const long start = now_ms();
  long came_back_ms = -1;
  for (;;) {
    const long elapsed = now_ms() - start;
    idle_kib = rss_kib();
    if (came_back_ms < 0 && idle_kib - base_kib <= burst_kib / 20) came_back_ms = elapsed;
    if (elapsed >= 1000) break;
    sleep_ms(elapsed > 980 ? 1 : 20);
  }
  fprintf(stderr,
          "base %ld KiB, peak %ld, after 1 s %ld (%.1f%% of the burst), 95%% back after %ld ms\n",
          base_kib, peak_kib, idle_kib,
          100.0 * static_cast<double>(idle_kib - base_kib) / static_cast<double>(burst_kib),
          came_back_ms);
  CHECK_LE(idle_kib - base_kib, burst_kib / 20);
  CHECK_EQ(lazy_free_kib(), 0);
}

/// Faults the pointer arrays in, so that they count in the base, not in the burst.
void prepare(Burst* burst) { memset(burst->blocks, 0, kMaxBlocks * sizeof(void*)); }

void from_main() {
  Burst burst;
  prepare(&burst);
  const long base_kib = rss_kib();
  burst.allocate(kBurstBytes, 1);
  const long peak_kib = rss_kib();
  burst.release();
  expect_return(base_kib, peak_kib);
}

void from_threads(bool free_elsewhere, bool stay_blocked) {
  std::vector<Burst> bursts(kThreads);
  for (Burst& burst : bursts) prepare(&burst);
  std::counting_semaphore<64> allocated{0}, may_free{0}, freed{0}, may_leave{0};
  std::vector<std::thread> threads;
  const long base_kib = rss_kib();
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      bursts[t].allocate(kBurstBytes / kThreads, t + 1);
      allocated.release();
      may_free.acquire();
      if (!free_elsewhere) bursts[t].release();
      freed.release();
      if (stay_blocked) may_leave.acquire();
    });
  }
  for (int t = 0; t < kThreads; ++t) allocated.acquire();
  const long peak_kib = rss_kib();
  may_free.release(kThreads);
  for (int t = 0; t < kThreads; ++t) freed.acquire();
  if (!stay_blocked) {
    for (std::thread& thread : threads) thread.join();
    threads.clear();
  }
  if (free_elsewhere) {
    std::thread([&] {
      for (Burst& burst : bursts) burst.release();
    }).join();
  }
  expect_return(base_kib, peak_kib);
  may_leave.release(kThreads);
  for (std::thread& thread : threads) thread.join();
}

void from_child() {
  from_main();  // the parent's helper thread, if there is one, runs from here on
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    from_main();
    _exit(0);
  }
  expect_success(child, 40);
}

}  // namespace

int main(int argc, char** argv) {
  require_override();
  const char* mode = argc > 1 ? argv[1] : "main";
  if (strcmp(mode, "main") == 0) {
    from_main();
  } else if (strcmp(mode, "threads") == 0) {
    from_threads(false, false);
  } else if (strcmp(mode, "remote") == 0) {
    from_threads(true, false);
  } else if (strcmp(mode, "blocked") == 0) {
    from_threads(false, true);
  } else if (strcmp(mode, "child") == 0) {
    from_child();
  } else {
    fprintf(stderr, "%s: unknown mode %s; use main, threads, remote, blocked or child\n", argv[0],
            mode);
    return 2;
  }
  return 0;
}
