// What a heap's map amounts to: totals, size classes, resident memory by part, and the slabs in
// which few live blocks keep most memory. Sums only; how they are shown is elsewhere.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "snapshot/heap_map.h"

namespace carrel::tools {

inline constexpr std::size_t kOccupancySteps = 10;

struct ClassSummary {
  std::uint32_t size_class = 0;
  std::uint64_t slabs = 0;
  std::uint64_t empty_slabs = 0;  // without a live or cached block
  std::uint64_t slots = 0;
  std::uint64_t live = 0;
  std::uint64_t cached = 0;
  std::uint64_t resident_bytes = 0;
  std::uint64_t resident_free = 0;
  // Slabs by the share of their slots that is live: below 10%, below 20% and so on; full ones last.
  std::uint64_t occupancy[kOccupancySteps + 1] = {};

  std::uint64_t free() const { return slots - live - cached; }
};

// Labels of two of the parts below.
inline constexpr const char* kLiveLabel = "live blocks";
inline constexpr const char* kForeignLabel = "not the allocator's";

struct ResidentPart {
  std::string label;
  std::uint64_t bytes = 0;
  std::string basis;
};

struct Summary {
  std::uint64_t live_bytes = 0;  // rounded up to slots and pages
  std::uint64_t live_blocks = 0;
  std::uint64_t cached_bytes = 0;  // in thread caches, and spans kept for large blocks
  std::uint64_t free_slot_bytes = 0;
  std::uint64_t slab_bytes = 0;
  std::uint64_t slabs = 0;
  std::uint64_t large_blocks = 0;
  std::uint64_t large_bytes = 0;
  std::uint64_t guarded_blocks = 0;
  std::uint64_t guarded_bytes = 0;     // of their pages
  std::uint64_t free_bytes = 0;        // in free spans
  std::uint64_t heap_bytes = 0;        // of all spans
  std::vector<ClassSummary> classes;   // those with slabs, by number
  std::vector<ResidentPart> resident;  // empty where the map doesn't know
  std::int64_t residue_bytes = 0;      // of rss_bytes that no part explains; negative: too much is
  // Numbers of slabs in which free slots are in memory for the sake of live ones, those first
  // whose live blocks keep most each.
  std::vector<std::size_t> worst;
};

Summary summarize(const HeapMap& map);

// Bytes of a slab's free slots that each of its live blocks keeps in memory.
double kept_per_block(const MappedSpan& slab);

// "shard 3", "arena 0", "heap profile".
std::string owner_name(const MappedSpan& span);

// A slab's slots in order: L live, C cached, F free, each with its number in front where it is more
// than one: "12L3FC".
std::string slot_text(const MappedSpan& slab);

}  // namespace carrel::tools
