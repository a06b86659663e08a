// Memory as C++ threads see it: which stores a load may see, and which accesses race.
//
// Every atomic object has the list of its stores in this execution. A load may see any store that
// is not older than what its thread knows already: what it wrote or saw before, and what it was
// told by a store with release order that it read with acquire order. Read-modify-writes see the
// newest. Fences and seq_cst are as in C++20, but for one thing: stores become part of an object's
// order as they are executed, so a load never sees a store that comes later in the execution, and
// two plain stores to two objects are never seen the wrong way round by their own writer.
//
// Ordinary accesses inside the arena are looked at for races: two of different threads, one of
// them a write, neither of which the other's thread knew to be done. Outside the arena (stacks,
// the checker itself) nobody looks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "explorer.h"

namespace model {

inline constexpr int kMaxThreads = 4;

/// The orders of std::memory_order, by the numbers that compilers hand to ThreadSanitizer.
enum Order : int { kRelaxed, kConsume, kAcquire, kRelease, kAcqRel, kSeqCst };

inline constexpr bool acquires(int order) { return order != kRelaxed && order != kRelease; }
inline constexpr bool releases(int order) { return order >= kRelease; }

/// All memory that the code under test shares: one range, the same in every process.
inline constexpr std::uintptr_t kArenaStart = 0x2000'0000'0000;
inline constexpr std::size_t kArenaBytes = std::size_t{6} << 30;
inline bool in_arena(std::uintptr_t address) { return address - kArenaStart < kArenaBytes; }

/// What two racing accesses were.
struct Race {
  std::uintptr_t address = 0;
  std::uintptr_t first_pc = 0;
  std::uintptr_t second_pc = 0;
  int first_thread = 0;
  int second_thread = 0;
};

namespace memory {

/// Reserves the arena; false if the system has not that much address space.
bool initialize();

/// A fresh execution: the arena reads as zero, nobody knows anything.
void reset();

/// What follows happens on this thread.
void set_thread(int thread);

/// `thread` now knows what the current one knows: it was started, or waited for.
void tell(int thread);

/// Notes an ordinary access of the current thread. `watched`: looks for a race; false when there
/// is one, told in `race`.
bool access(std::uintptr_t address, std::size_t bytes, bool write, bool watched, std::uintptr_t pc,
            Race& race);

/// The pages of a range are given back: a write to all of them that zeroes them.
bool purge(std::uintptr_t address, std::size_t bytes, bool watched, std::uintptr_t pc, Race& race);

// Atomic accesses of 1 to 8 bytes. `explorer` chooses the store that a load sees.
std::uint64_t load(std::uintptr_t address, unsigned bytes, int order, Explorer& explorer);
void store(std::uintptr_t address, unsigned bytes, std::uint64_t value, int order);
/// Reads the newest value, and afterwards writes: exchange and its like in two steps, between which
/// nothing else happens.
std::uint64_t begin_update(std::uintptr_t address, unsigned bytes);
void end_update(std::uintptr_t address, unsigned bytes, std::uint64_t value, int order);
/// The same without the write, for a compare_exchange that fails.
void end_failed_update(std::uintptr_t address, unsigned bytes, int order);
void fence(int order);

/// The bytes as they are, and as they shall be, past all books.
std::uint64_t peek(std::uintptr_t address, unsigned bytes);
void set_bytes(std::uintptr_t address, unsigned bytes, std::uint64_t value);

}  // namespace memory
}  // namespace model
