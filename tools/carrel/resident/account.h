// Account: where a process's resident memory is, from a picture of it and the blocks that the trace
// says were live then; and which call sites' blocks keep free memory from going back. Sums only.
//
// On carrel the parts are those of its slabs, slot by slot. On another allocator its free blocks
// cannot be told from its headers and rounding; what can be told is which bytes of which pages are
// in the program's hands.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "resident/picture.h"
#include "snapshot/summary.h"
#include "trace/live_map.h"

namespace carrel::tools {

// Live blocks of one call site that lie in slabs (on another allocator: on pages) with free memory.
struct PinningSite {
  std::uint32_t stack = 0;
  double blocks = 0;  // estimated from those with a stack
  double bytes = 0;   // free memory that they keep: each block its share of its slab's
  std::uint64_t samples = 0;
};

struct PinningClass {
  std::uint64_t block_bytes = 0;
  std::uint64_t slabs = 0;
  std::uint64_t live_blocks = 0;
  std::uint64_t free_bytes = 0;
};

struct PinnedSlab {
  std::uint64_t address = 0;
  std::uint64_t block_bytes = 0;
  std::uint64_t slots = 0;
  std::uint64_t live_blocks = 0;
  std::uint64_t free_bytes = 0;
  // Of its live blocks that the trace knows.
  std::uint64_t requested_bytes = 0;
  std::uint64_t oldest_ns = 0;
  std::uint64_t youngest_ns = 0;
  std::vector<std::uint32_t> stacks;  // of those that were sampled, each once
};

struct Pinned {
  std::uint64_t free_bytes = 0;  // in memory for the sake of live blocks
  std::uint64_t places = 0;      // slabs, or pages
  std::uint64_t live_blocks = 0;
  std::uint64_t samples = 0;          // of them with a stack
  std::vector<PinningClass> classes;  // most free bytes first; carrel only
  std::vector<PinningSite> sites;     // most bytes first
  std::vector<PinnedSlab> worst;      // most free bytes for each live block first; carrel only
};

struct Account {
  std::uint64_t time_ns = 0;
  bool at_end = false;
  bool by_slabs = false;  // carrel's own; else by pages
  std::uint64_t rss_bytes = 0;
  std::uint64_t live_blocks = 0;  // by the trace
  std::uint64_t requested_bytes = 0;
  // By slabs: blocks of the trace that no slab has as live, and live ones that the trace lacks.
  std::uint64_t only_in_trace = 0;
  std::uint64_t only_in_heap = 0;
  std::vector<ResidentPart> parts;
  std::int64_t residue_bytes = 0;
  Pinned pinned;
};

// `blocks`: by address, as LiveAt gives them; `stack_interval`: the trace's.
Account account_for(const HeapPicture& picture, const std::vector<LiveObject>& blocks,
                    std::uint64_t stack_interval);

}  // namespace carrel::tools
