// The statistics against the kernel's books: what they call resident is what /proc/self/smaps
// says, to within 2%, while a heap of some 200 MiB is filled, thinned out and purged.
#include <carrel/carrel.h>

#include <thread>
#include <vector>

#include "../support/check.h"
#include "../support/override.h"
#include "../support/proc.h"

namespace {

/// Resident KiB of all mappings, summed up line by line.
long smaps_rss_kib() {
  static char text[1 << 20];  // not from the heap, and resident before the first look
  FILE* file = fopen("/proc/self/smaps", "r");
  CHECK(file != nullptr);
  setvbuf(file, text, _IOFBF, sizeof text);
  char line[512];
  long total = 0;
  while (fgets(line, sizeof line, file) != nullptr) {
    long kib = 0;
    if (sscanf(line, "Rss: %ld kB", &kib) == 1) total += kib;
  }
  fclose(file);
  return total;
}

struct Look {
  long kernel_kib;
  long carrel_kib;
};

Look look() {
  carrel_stats stats;
  CHECK_EQ(carrel_stats_read(&stats, sizeof stats), CARREL_OK);
  return {smaps_rss_kib(),
          static_cast<long>((stats.resident_bytes + stats.metadata_resident_bytes) / 1024)};
}

void compare(const char* when, const Look& start) {
  const Look now = look();
  const long kernel = now.kernel_kib - start.kernel_kib;
  const long carrel = now.carrel_kib - start.carrel_kib;
  printf("%-22s the kernel says %7ld KiB more, carrel %7ld\n", when, kernel, carrel);
  fflush(stdout);
  // 512 KiB for stacks of threads and pages of libraries that are first touched meanwhile.
  const long tolerance = kernel / 50 + 512;
  CHECK_LE(labs(kernel - carrel), tolerance);
}

void fill(std::vector<void*>& blocks, std::uint64_t seed, std::size_t count) {
  std::uint64_t state = seed;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t random = next_random(&state);
    const std::size_t size = random % 100 == 0 ? 40000 + random % 400000 : 16 + random % 2000;
    void* block = malloc(size);
    CHECK(block != nullptr);
    memset(block, 1, random % 7 == 0 ? size / 2 : size);  // some blocks only in part
    blocks.push_back(block);
  }
}

}  // namespace

int main() {
  require_override();
  carrel_ctl_write_u64("option.purge_thread", 0);  // so that nothing happens between two looks
  carrel_ctl_write_u64("option.decay_ms", 20000);
  std::vector<std::vector<void*>> blocks(4);
  look();
  const Look start = look();
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < blocks.size(); ++t) {
    threads.emplace_back([&blocks, t] { fill(blocks[t], t + 1, 15000); });
  }
  for (std::thread& thread : threads) thread.join();
  compare("filled by four threads", start);
  CHECK_LE(100 * 1024, look().carrel_kib);
  for (std::vector<void*>& some : blocks) {
    for (std::size_t i = 0; i < some.size(); ++i) {
      if (i % 8 == 0) continue;
      free(some[i]);
      some[i] = nullptr;
    }
  }
  compare("mostly freed", start);
  carrel_purge();
  compare("purged", start);
  fill(blocks[0], 99, 20000);
  compare("filled again", start);
  for (std::vector<void*>& some : blocks) {
    for (void* block : some) free(block);
  }
  carrel_purge();
  compare("empty and purged", start);
  return 0;
}
