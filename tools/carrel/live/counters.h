// The statistics of another process's heap, summed up here from its records: what carrel_stats_read
// and its like would say in the process itself, but for huge_bytes, which only the process can ask
// for. At rest the two agree; while it works, each number is right at the moment its record was
// read.
#pragma once

#include <cstdint>
#include <vector>

#include "analysis/document.h"
#include "carrel/carrel.h"
#include "live/live_heap.h"

namespace carrel::tools {

struct ThreadCounters {
  std::uint64_t shard = 0;
  std::uint64_t cached_bytes = 0;
};

struct ArenaCounters {
  std::uint64_t number = 0;
  std::uint64_t live_bytes = 0;
  std::uint64_t live_blocks = 0;
  std::uint64_t active_bytes = 0;
  std::uint64_t free_bytes = 0;  // in its own pool, where it has one
};

struct HeapCounters {
  carrel_stats totals = {};
  std::uint64_t guarded_blocks = 0;         // of a hardened build's samples; also in large_blocks,
  std::uint64_t guarded_bytes = 0;          // and large_bytes
  bool resident_known = false;              // whether the system told; else those fields are zero
  std::uint64_t rss_bytes = 0;              // of the whole process
  std::vector<carrel_class_stats> classes;  // from class 1 on
  std::vector<carrel_shard_stats> shards;
  std::vector<ThreadCounters> threads;
  std::vector<ArenaCounters> arenas;
};

// Reads a few KiB for each shard and thread; with `resident`, also 8 bytes for each page of the
// heap. Throws TargetEnded.
HeapCounters read_counters(const LiveHeap& heap, bool resident);

// The numbers under the names that they have in carrel's own statistics (carrel-statistics).
Json counters_json(const HeapCounters& counters);

// One number of carrel_stats by its name.
struct TotalField {
  const char* name;
  std::uint64_t carrel_stats::*member;
  bool counts_up;  // since the start, never down
};
const std::vector<TotalField>& total_fields();

}  // namespace carrel::tools
