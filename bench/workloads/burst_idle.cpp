// A burst and then silence. burst: some 500 MB of small blocks are allocated and freed, then the
// process makes no further call, and its resident memory is sampled. stragglers: of four million
// small blocks a random 2% is kept, the rest freed, and what the process still holds after idling
// is compared with the bytes that are live. `seconds` is the busy part alone.
#include <sys/mman.h>

#include "resident.hpp"

namespace {

struct Block {
  void* address;
};

// From mmap, so that the table of addresses is not part of what is measured and can be given back.
Block* map_table(std::size_t count) {
  void* table = mmap(nullptr, count * sizeof(Block), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (table == MAP_FAILED) bench::die("no memory for a table of %zu blocks", count);
  return static_cast<Block*>(table);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv, {"burst", "stragglers"});
  const bool stragglers = options.mode == "stragglers";
  const std::size_t count = options.scaled(stragglers ? 4e6 : 6e6, 1000);
  const std::size_t high = stragglers ? 112 : 144;  // 64 or 80 bytes on average
  bench::Rng rng(options.seed);
  Block* table = map_table(count);
  double live = 0;
  std::size_t kept = 0;

  const double start = bench::now_seconds();
  for (std::size_t i = 0; i < count; i++) {
    table[i].address = bench::Sealed::make(rng.between(16, high));
  }
  const double full = bench::resident_bytes();
  for (std::size_t i = 0; i < count; i++) {
    if (stragglers && rng.below(50) == 0) {
      live += static_cast<double>(bench::Sealed::size_of(table[i].address));
      table[kept++] = table[i];
    } else {
      bench::Sealed::check_and_free(table[i].address);
    }
  }
  const double seconds = bench::now_seconds() - start;

  // The table's own pages are given back, except those that hold the stragglers' addresses.
  const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t keep_bytes = (kept * sizeof(Block) + page - 1) / page * page;
  const std::size_t all_bytes = (count * sizeof(Block) + page - 1) / page * page;
  if (all_bytes > keep_bytes) {
    munmap(reinterpret_cast<char*>(table) + keep_bytes, all_bytes - keep_bytes);
  }
  bench::Report report(count, seconds);
  report.add("rss_full", full - static_cast<double>(all_bytes));
  report.add("live_bytes", live);
  bench::sample_idle(report, options.idle_seconds);
  for (std::size_t i = 0; i < kept; i++) bench::Sealed::check_and_free(table[i].address);
  return report.print();
}
