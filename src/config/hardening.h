// What a hardened build does beyond the default one: one field per policy.
//
// Each field has its policy in the code under `if constexpr`, a death test, a paragraph in
// docs/SECURITY.md and a measured cost there. A field that is off costs nothing: what it
// would need has no size, and the code is not generated.
//
// The parts below the heap know no Config, only the operating system they are built on.
// What they need to know travels with that: HardenedOs is the system with its policies,
// hardening_of reads them, and a system without any has all of them off.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace carrel::core {

struct Hardening {
  /// A record per slot outside the heap: every free, realloc and malloc_usable_size is checked
  /// at the call. Most of what follows needs it.
  bool check_frees = false;

  /// Sized and aligned deletes must name the block's own size and an alignment that it has.
  bool check_sizes = false;

  /// Bytes of secret pattern after each block up to 32 KiB, checked when it is freed: 0 or 8.
  std::uint32_t canary_bytes = 0;

  /// Freed blocks up to 32 KiB are zeroed at the call; new large blocks read as zero.
  bool zero_freed = false;

  /// Bytes of a slot that must still be zero when it is handed out again; larger ones are
  /// looked at in part.
  std::uint32_t verify_bytes = 0;

  /// Which free slot is handed out is random.
  bool random_slots = false;

  /// Bytes per thread and class that a freed block waits among, to be replaced at random.
  std::size_t quarantine_bytes = 0;

  /// A slab's memory serves its size class for ever, while address space lasts.
  bool isolate_classes = false;

  /// The heap starts at a random place of its window; in units of 2 MiB, a power of two.
  std::uint32_t random_base_steps = 0;

  /// carrel's own records lie between pages that cannot be touched.
  bool guard_metadata = false;

  /// Large blocks lie between pages that cannot be touched.
  bool guard_large = false;

  /// Large blocks cannot be touched after they were freed, until about this many others were.
  std::uint32_t fenced_large = 0;

  /// Slots for sampled blocks, alone between pages that cannot be touched; a multiple of 32. How
  /// often a block is sampled is Config::guard_sample, and the option of that name.
  std::uint32_t guarded_slots = 0;

  constexpr bool operator==(const Hardening&) const = default;
};

/// The policies that a system carries; all off if it carries none.
template <class Os>
consteval Hardening hardening_of() {
  if constexpr (requires { Os::kHardening; }) {
    return Os::kHardening;
  } else {
    return {};
  }
}

template <class Os, Hardening H>
struct WithHardening : Os {
  static constexpr Hardening kHardening = H;
};

/// `Os` carrying policies; `Os` itself if they are all off.
template <class Os, Hardening H>
using HardenedOs = std::conditional_t<H == Hardening{}, Os, WithHardening<Os, H>>;

}  // namespace carrel::core
