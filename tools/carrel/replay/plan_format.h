// The file that tells a player what to do and takes what came of it; mapped shared by both sides.
// Needs no library.
//
//   PlanHead, PlanThread[threads], PlanOp[ops], slots (8 bytes each)
//
// A slot holds a live block's address. A block that only one thread touches has a slot of that
// thread's, used again afterwards. A block that crosses threads has a slot of its own, null until
// the block is there: whoever needs it waits for that, and nothing else is ever waited for.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/latency.h"

namespace carrel::tools::plan {

inline constexpr std::uint64_t kMagic = 0x4e414c504c5243;
inline constexpr std::uint32_t kNoSlot = ~std::uint32_t{0};

enum class OpCode : std::uint8_t {
  kMalloc,
  kCalloc,
  kAligned,
  kNew,
  kNewAligned,
  kRealloc,  // slot is the old block's, kNoSlot for none; to the new one's
  kFree,
  kDelete,
  kDeleteSized,
  kDeleteAligned,
  kCreate,  // size: index of the thread
  kJoin,    // size: index of the thread
};

inline constexpr std::uint8_t kCrosses = 1;  // `slot` may have to be waited for, or is waited for

enum class Touch : std::uint32_t { kNone, kPage, kFull };

struct PlanOp {
  OpCode code;
  std::uint8_t alignment_log;
  std::uint8_t flags;
  std::uint8_t reserved;
  std::uint32_t slot;
  std::uint64_t size;
  std::uint64_t old_size;  // kRealloc and ends: what the block had
  std::uint32_t to;        // kRealloc: slot of the new block
  std::uint32_t delta;     // nanoseconds / 16 since the thread's last op
};

struct alignas(64) PlanThread {
  std::uint64_t first;  // op
  std::uint64_t count;
  std::uint32_t created;   // by an op; else it starts with the replay
  std::uint32_t joined;    // by an op; else at the end
  std::uint64_t start_ns;  // pace real: since the beginning of the trace
  alignas(64) std::atomic<std::int64_t> live_bytes;
};

struct Latency {
  std::atomic<std::uint64_t> bucket[kLatencyClasses];
};

struct PlanHead {
  std::uint64_t magic;
  std::uint64_t total_bytes;
  std::uint32_t threads;
  Touch touch;
  std::uint32_t real_pace;
  std::uint32_t slots;
  std::uint64_t ops;
  std::uint64_t threads_offset;
  std::uint64_t ops_offset;
  std::uint64_t slots_offset;

  // What the player writes.
  std::uint64_t done;  // 1 when all of it is there
  std::uint64_t wall_ns;
  std::uint64_t user_ns;
  std::uint64_t system_ns;
  std::uint64_t minor_faults;
  std::uint64_t major_faults;
  std::uint64_t base_rss_bytes;
  std::uint64_t peak_rss_bytes;  // above the base
  std::uint64_t end_rss_bytes;   // above the base
  std::uint64_t clock_ns;        // what measuring one latency costs by itself
  std::uint64_t refused;         // allocations that gave null
  std::atomic<std::uint64_t> stall_ns;
  std::atomic<std::uint64_t> stalls;
  std::atomic<std::uint64_t> calls_ns;  // in all calls of the allocator, from those that were timed
  std::atomic<std::int64_t> peak_live_bytes;
  char malloc_path[512];
  Latency malloc_latency;
  Latency free_latency;
};

}  // namespace carrel::tools::plan
