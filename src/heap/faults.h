// What a memory fault was, if it was at a fence of a hardened build: the block that it belongs to,
// and how far from it. Who writes that down is src/api/reports.cc.
//
// Runs in a signal's handler, on the thread that faulted: takes no lock, does not allocate, and
// believes nothing that it reads to be still so.
#pragma once

#include "heap/heap.h"

namespace carrel::core {

template <Config C, OsLayer Os, class Tls>
bool Heap<C, Os, Tls>::explain_fault(const void* address, FaultedBlock& block) const {
  const std::size_t index = map_.index_of(address);
  if (index >= map_.granule_count()) return false;
  if constexpr (kHard.guarded_slots != 0) {
    if (map_.class_seen_at(index) == kGuardedBlock) {
      const GuardedSlot* slot = slots_.nearest(address);
      if (slot == nullptr) return false;
      block = {.start = slot->block,
               .size = slot->size,
               .freed = slot->state.load(std::memory_order_acquire) != GuardedSlot::kLive,
               .slot = slot};
      return true;
    }
  }
  if constexpr (kHard.guard_large) return large_.explain(index, block);
  return false;
}

/// Says what is known of a fault at this address, in one line.
template <class Os>
void report_fault(const MemoryFault& fault, const FaultedBlock& block) {
  const std::uintptr_t at = address_of(fault.address);
  const std::uintptr_t start = address_of(block.start);
  const bool before = at < start;
  const bool inside = !before && at - start < block.size;
  const std::size_t distance = before ? start - at : inside ? at - start : at - start - block.size;
  TextBuffer<160> where;
  where << ", " << std::uint64_t{distance} << (distance == 1 ? " byte " : " bytes ")
        << (before   ? "before a "
            : inside ? "into a "
                     : "behind a ")
        << (block.freed ? "freed " : "") << (block.slot != nullptr ? "sampled" : "large")
        << " block of " << std::uint64_t{block.size} << " bytes at " << block.start;
  const char* text = fault.access == MemoryFault::Access::kRead    ? "this address was read"
                     : fault.access == MemoryFault::Access::kWrite ? "this address was written"
                                                                   : "this address was touched";
  Report<Os>::fault(block.freed ? "use-after-free" : "out-of-bounds", text, fault.address,
                    where.data(), fault.code);
}

}  // namespace carrel::core
