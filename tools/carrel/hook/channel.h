// The memory that a recorded process and the recorder share: a memfd that the recorder makes and
// the hook maps. This header is all that the two know of each other; it needs no library.
//
// A thread of the program claims a block, writes words into it front to back, submits it when full
// and claims the next. The recorder reads along: a word that is not 0 has been written. It clears a
// block before it frees it, so that whatever a killed process wrote last is still found. No lock
// anywhere; the program's threads wait only when kMostFull blocks await the recorder.
//
// Words. Bits 0 to 4 are the operation (an Op of trace/event.h or one of the codes below), 5 to 15
// a small size, 16 to 63 an address or number. kSizeFollows in the size field says that the next
// word holds the size in bits 0 to 55 and the alignment's logarithm in 56 to 63.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace carrel::tools::channel {

inline constexpr std::uint32_t kMagic = 0x43524c48;
inline constexpr std::uint32_t kVersion = 3;
inline constexpr const char* kEnvironment = "CARREL_HOOK";  // /proc/PID/fd/N of the memfd

// An executable with the hook linked in says so in an ELF note: this owner, this type, and kVersion
// as four bytes. The recorder tells by it that it can record the program; the preloaded hook, that
// it is not needed.
inline constexpr char kNoteOwner[] = "carrel";
inline constexpr std::uint32_t kNoteType = 0x43524c48;

inline constexpr std::size_t kBlockBytes = std::size_t{32} << 10;
inline constexpr std::size_t kBlockWords = kBlockBytes / sizeof(std::uint64_t);
inline constexpr std::uint32_t kMaxBlocks = 32768;
inline constexpr std::uint32_t kMostFull = 2048;  // 64 MiB
inline constexpr std::uint32_t kMaxProcesses = 512;
inline constexpr std::uint32_t kMaxNames = 32;

// Operation codes of words beside those of Op.
inline constexpr unsigned kWordTime = 28;    // bits 5 to 63: the clock, for the words that follow
inline constexpr unsigned kWordFrame = 29;   // a return address; the frames before a beginning
inline constexpr unsigned kWordParent = 30;  // the creating thread's number, after a thread's start
inline constexpr unsigned kSizeFollows = 2047;

// A stamp is written after so many words at most, and when the recorder's tick has moved on. The
// clock costs tens of nanoseconds to read, more than the rest of an event.
inline constexpr std::size_t kWordsPerStamp = 16;

enum class ClockKind : std::uint32_t { kCounter, kSystem };  // processor's counter; CLOCK_MONOTONIC

enum class BlockState : std::uint32_t { kFree, kOwned, kFull };

struct alignas(64) BlockHead {
  std::atomic<BlockState> state;
  std::uint32_t process;    // index into Control::processes
  std::uint32_t thread;     // number within the process
  std::uint32_t sequence;   // of the thread's blocks
  std::uint32_t system_id;  // the thread's kernel id
};

enum class ProcessState : std::uint32_t {
  kNone,
  kAttached,
  kEnding,  // at its last destructors, waits for the recorder to look at its mappings
  kLooked,  // the recorder has looked
  kGaveUp,  // the recorder was silent for too long; the process records no more
};

struct Process {
  std::atomic<std::int32_t> pid;
  std::atomic<ProcessState> state;
  std::atomic<std::uint32_t> threads;  // numbers handed out
  std::int32_t parent;                 // index of the process it was forked from, or -1
  std::atomic<std::uint64_t> waited_ns;
  std::atomic<std::uint32_t> paused;  // futex word: 1 while the recorder looks at the heap
  char allocator[512];                // file that serves the allocations behind the hook
  char allocator_name[64];            // as the program's language calls it, or empty
  std::uint32_t linked_in;            // 1: that file is the program's own
};

struct Control {
  std::uint32_t magic;
  std::uint32_t version;
  std::uint64_t total_bytes;
  std::uint32_t block_count;
  std::int32_t root_pid;
  std::uint32_t follow_fork;
  std::uint32_t stacks;          // 1: take stacks
  std::uint64_t stack_interval;  // bytes between stacks of a thread; 0: every allocation
  ClockKind clock;

  alignas(64) std::atomic<std::uint32_t> tick;  // the recorder's, every few hundred microseconds
  std::atomic<std::uint32_t> stop;              // 1: nobody records any more
  alignas(64) std::atomic<std::uint32_t> full;  // blocks that await the recorder
  std::atomic<std::uint32_t> drained;           // futex word: moves when blocks were freed
  std::atomic<std::uint32_t> sleeping;          // futex word: the recorder waits for blocks
  std::atomic<std::uint32_t> process_count;
  std::atomic<std::uint32_t> inert_count;  // processes that were started and not recorded
  std::atomic<std::uint32_t> name_count;
  char names[kMaxNames][16];  // of the first of those

  alignas(64) std::atomic<std::uint64_t> free_blocks[kMaxBlocks / 64];
  Process processes[kMaxProcesses];
  BlockHead heads[kMaxBlocks];
};

inline constexpr std::size_t kBlocksOffset = (sizeof(Control) + 4095) / 4096 * 4096;

inline std::uint64_t* block_words(Control* control, std::uint32_t block) {
  return reinterpret_cast<std::uint64_t*>(reinterpret_cast<char*>(control) + kBlocksOffset +
                                          block * kBlockBytes);
}

}  // namespace carrel::tools::channel
