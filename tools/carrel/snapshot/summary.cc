// The sums.
#include "snapshot/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace carrel::tools {

namespace {

constexpr std::size_t kMostWorst = 50;

void add_slab(const HeapMap& map, const MappedSpan& span, Summary& sum,
              std::map<std::uint32_t, ClassSummary>& classes) {
  const SlotClass& info = map.classes[span.size_class];
  ClassSummary& of = classes[span.size_class];
  of.size_class = span.size_class;
  ++of.slabs;
  if (span.live + span.cached == 0) ++of.empty_slabs;
  of.slots += span.slots;
  of.live += span.live;
  of.cached += span.cached;
  of.resident_bytes += span.resident_bytes;
  of.resident_free += span.resident_free;
  ++of.occupancy[span.live * kOccupancySteps / span.slots];
  ++sum.slabs;
  sum.slab_bytes += span.granules * map.granule_bytes;
  sum.live_blocks += span.live;
  sum.live_bytes += std::uint64_t{span.live} * info.slot_bytes;
  sum.cached_bytes += std::uint64_t{span.cached} * info.slot_bytes;
  sum.free_slot_bytes += std::uint64_t{span.slots - span.live - span.cached} * info.slot_bytes;
}

void add_resident(const HeapMap& map, Summary& sum) {
  std::uint64_t live = 0, cached = 0, kept = 0, partial = 0, empty = 0, tails = 0, free = 0;
  std::uint64_t guarded = 0;
  for (const MappedSpan& span : map.spans) {
    if (span.kind == SpanKind::kGuarded) {
      guarded += span.resident_bytes;
      continue;
    }
    live += span.resident_live;
    cached += span.resident_cached;
    const bool in_use = span.live + span.cached != 0;
    if (span.kind == SpanKind::kSlab) (in_use ? partial : empty) += span.resident_free;
    if (span.kind == SpanKind::kSlab || span.kind == SpanKind::kLarge) {
      tails += span.resident_bytes - span.resident_live - span.resident_cached - span.resident_free;
    } else {
      (span.kind == SpanKind::kFree ? free : kept) += span.resident_bytes;
    }
  }
  sum.resident = {
      {kLiveLabel, live, "in the program's hands, with the rounding to slots and pages"},
      {"sampled blocks", guarded, "of a hardened build, each on pages of its own between fences"},
      {"thread caches", cached, "free blocks that threads keep for their next malloc"},
      {"free slots", partial, "in slabs that hold live or cached blocks"},
      {"empty slabs", empty, "slabs without a block, kept for their class"},
      {"ends of slabs and blocks", tails, "behind the last slot of a slab, or a large block's end"},
      {"kept spans", kept, "of large blocks just freed, for the next ones; or fenced"},
      {"dirty spans", free, "free, and not yet given back to the system"},
      {"metadata", map.record_resident, "carrel's own records"},
      {kForeignLabel, map.foreign_bytes,
       "the program, its libraries, stacks and own mappings, as smaps says"}};
  sum.residue_bytes = static_cast<std::int64_t>(map.rss_bytes);
  for (const ResidentPart& part : sum.resident) {
    sum.residue_bytes -= static_cast<std::int64_t>(part.bytes);
  }
}

void find_worst(const HeapMap& map, Summary& sum) {
  for (std::size_t i = 0; i < map.spans.size(); ++i) {
    const MappedSpan& span = map.spans[i];
    if (span.kind == SpanKind::kSlab && span.live != 0 && span.resident_free != 0) {
      sum.worst.push_back(i);
    }
  }
  const std::size_t most = std::min(kMostWorst, sum.worst.size());
  std::partial_sort(sum.worst.begin(), sum.worst.begin() + static_cast<std::ptrdiff_t>(most),
                    sum.worst.end(), [&](std::size_t a, std::size_t b) {
                      const double of_a = kept_per_block(map.spans[a]);
                      const double of_b = kept_per_block(map.spans[b]);
                      return of_a != of_b ? of_a > of_b : a < b;
                    });
  sum.worst.resize(most);
}

}  // namespace

double kept_per_block(const MappedSpan& slab) {
  return slab.live == 0 ? 0 : static_cast<double>(slab.resident_free) / slab.live;
}

std::string owner_name(const MappedSpan& span) {
  if (span.owner == Owner::kArena) return fmt::format("arena {}", span.owner_number);
  if (span.owner == Owner::kProfile) return "heap profile";
  return fmt::format("shard {}", span.owner_number);
}

std::string slot_text(const MappedSpan& slab) {
  std::string out;
  const auto letter = [&](std::uint32_t slot) {
    return slab.is_free(slot) ? 'F' : slab.is_cached(slot) ? 'C' : 'L';
  };
  for (std::uint32_t slot = 0; slot < slab.slots;) {
    const char of = letter(slot);
    std::uint32_t end = slot + 1;
    while (end < slab.slots && letter(end) == of) ++end;
    if (end - slot > 1) out += std::to_string(end - slot);
    out += of;
    slot = end;
  }
  return out;
}

Summary summarize(const HeapMap& map) {
  Summary sum;
  std::map<std::uint32_t, ClassSummary> classes;
  for (const MappedSpan& span : map.spans) {
    const std::uint64_t bytes = span.granules * map.granule_bytes;
    sum.heap_bytes += bytes;
    switch (span.kind) {
      case SpanKind::kSlab:
        add_slab(map, span, sum, classes);
        break;
      case SpanKind::kLarge:
        ++sum.large_blocks;
        ++sum.live_blocks;
        sum.large_bytes += span.block_bytes;
        sum.live_bytes += span.block_bytes;
        break;
      case SpanKind::kGuarded:
        for (const GuardedBlock& block : span.guarded) {
          ++sum.guarded_blocks;
          ++sum.live_blocks;
          sum.guarded_bytes += block.page_bytes;
          sum.live_bytes += block.page_bytes;
        }
        break;
      case SpanKind::kKept:
        sum.cached_bytes += bytes;
        break;
      case SpanKind::kFree:
        sum.free_bytes += bytes;
        break;
      case SpanKind::kUnknown:
        break;
    }
  }
  for (const auto& [number, of] : classes) sum.classes.push_back(of);
  if (map.resident_known) {
    add_resident(map, sum);
    find_worst(map, sum);
  }
  return sum;
}

}  // namespace carrel::tools
