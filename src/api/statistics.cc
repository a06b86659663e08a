// Statistics of the process's heap as text; see statistics.h.
#include "api/statistics.h"

#include "api/instance.h"

namespace carrel::core {

void process_stats(HeapStats& stats) {
  if (!process_heap.ready()) return;
  gather_stats(stats, process_heap.shards(), process_heap.registry(), process_heap.large(),
               process_heap.pool(), process_heap.metadata());
}

void print_statistics() {
  HeapStats stats;
  process_stats(stats);
  TextBuffer<512> text;
  const auto line = [&](const char* name, std::size_t number, const char* meaning) {
    text << "  " << name << std::uint64_t{number} << "  " << meaning << "\n";
    LinuxOs::write_stderr(text.data(), text.size());
    text.clear();
  };
  text << "carrel statistics (bytes)\n";
  line("live      ", stats.live_bytes, "in the program's hands, rounded up to slots and pages");
  line("cached    ", stats.cached_bytes, "in thread caches");
  line("slabs     ", stats.slab_bytes, "address space of slabs");
  line("large     ", stats.large_bytes, "in blocks of more than 32 KiB");
  line("heap      ", stats.heap_bytes, "obtained from the system");
  line("free      ", stats.free_bytes, "of it in no slab and no block");
  line("touched   ", stats.touched_bytes, "of these perhaps resident, awaiting purge");
  line("purged    ", stats.purged_bytes, "given back to the system so far");
  line("metadata  ", stats.metadata_bytes, "mapped for carrel's own records");
  line("blocks    ", stats.live_blocks, "live blocks");
  line("threads   ", stats.threads, "threads with a cache");
}

}  // namespace carrel::core
