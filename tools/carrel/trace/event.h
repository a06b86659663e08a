// What a trace says, as its reader hands it out: events in one order over all threads, and the
// facts about the recorded process around them. Plain values; nothing here reads files.
//
// Objects. Each successful allocation is an object with a number of its own, dense from 0 in the
// order of the events. Addresses repeat, objects don't. A realloc ends one object and begins
// another, even when the address stays.
//
// Order. Events of one thread come in that thread's order. Between threads the order is that of the
// clock, and an object's end never comes before its beginning, nor an address's next object before
// the end of the last one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace carrel::tools {

enum class Op : std::uint8_t {
  // Beginnings of an object. `address` 0 and `object` kNoObject when the allocator refused.
  kMalloc = 1,  // malloc; also what libc's own functions (strdup, getline) take
  kCalloc,      // size is count * size
  kAligned,     // posix_memalign, aligned_alloc, memalign, valloc, pvalloc
  kNew,         // operator new and new[]
  kNewAligned,  // the same with std::align_val_t
  // realloc is two events, since other threads act in between. Begin ends `object` (kNoObject for a
  // null or unknown pointer); `wanted` is the size asked for. End begins `object` (the new one) and
  // names the old one in `previous`. A refused realloc ends with address 0 and `object` the old
  // object, which lives on.
  kReallocBegin,
  kReallocEnd,
  // Ends of an object. kNoObject when the block was not seen to begin (allocated before recording
  // or inherited through fork). free(NULL) is not recorded.
  kFree,
  kDelete,         // operator delete and delete[] without a size
  kDeleteSized,    // with a size
  kDeleteAligned,  // with an alignment, with or without a size
  kLost,  // made by the reader: the address began again without an end; the old one is gone
  // Not about objects. `other` is the number of the other thread, or a process id for kFork.
  kThreadStart,  // first event of a thread; other: the thread that created it, kNoThread if unknown
  kThreadExit,   // last event of a thread, but for what its last destructors still free
  kThreadCreate,  // in the creating thread; other: the new thread, which starts after this
  kThreadJoin,    // in the joining thread, after the join; other: the thread that ended
  kFork,          // in the parent; other: the child's process id
};

inline constexpr std::uint64_t kNoObject = ~std::uint64_t{0};
inline constexpr std::uint32_t kNoThread = ~std::uint32_t{0};

struct Event {
  std::uint64_t time_ns = 0;              // since the trace began; resolution some 10 ns
  std::uint64_t object = kNoObject;       // see Op
  std::uint64_t address = 0;              // as the program saw it
  std::uint64_t size = 0;                 // bytes asked for; at an end: what the ended object had
  std::uint64_t wanted = 0;               // kReallocBegin only: bytes asked for
  std::uint64_t previous = kNoObject;     // kReallocEnd only: the object it replaces
  std::uint64_t born_ns = 0;              // at an end: time_ns of the object's beginning
  std::uint32_t born_thread = kNoThread;  // at an end: the thread of the object's beginning
  std::uint32_t thread = 0;               // dense from 0; 0 is the first that allocated
  std::uint32_t other = kNoThread;        // see Op
  std::uint32_t stack = 0;                // 0: not sampled; else a number for TraceReader::stack.
                                          // At an end: that of the object's beginning
  std::uint32_t alignment = 0;            // kAligned, kNewAligned: bytes; else 0
  Op op = Op::kMalloc;
};

// kMalloc, kCalloc, kAligned, kNew, kNewAligned, and kReallocEnd: an object may begin.
constexpr bool begins(Op op) {
  return (op >= Op::kMalloc && op <= Op::kNewAligned) || op == Op::kReallocEnd;
}
// kFree to kLost, and kReallocBegin: an object may end.
constexpr bool ends(Op op) {
  return (op >= Op::kFree && op <= Op::kLost) || op == Op::kReallocBegin;
}

std::string_view op_name(Op op);  // "malloc", "realloc begin", "thread start", ...

// Stacks are taken about once every `interval` bytes allocated by a thread. How many bytes, and how
// many objects, one sampled object of `size` bytes stands for. `interval` 0 means every object: 1.
double sampled_objects(std::uint64_t size, std::uint64_t interval);
inline double sampled_bytes(std::uint64_t size, std::uint64_t interval) {
  return static_cast<double>(size) * sampled_objects(size, interval);
}

// Resident memory of the recorded process, about every 10 ms; the recorder's own buffers excluded.
struct MemorySample {
  std::uint64_t time_ns = 0;
  std::uint64_t anon_bytes = 0;  // what allocators use, stacks and the program's own mappings
  std::uint64_t file_bytes = 0;  // code and data of the executable and libraries, mapped files
};

// One file mapped executable, for symbols: file offset of pc is pc - begin + offset.
struct Module {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t offset = 0;
  std::string path;
  std::string build_id;  // hex, empty if the file has none
};

struct LibraryInfo {
  std::string name;      // glibc, jemalloc, ...; the file's name when it is none that is known
  std::string path;      // where malloc resolved to
  std::string build_id;  // hex
  std::string version;   // when its file name or the library itself tells, else empty
};

struct TraceInfo {
  std::vector<std::string> command;
  std::string executable;
  std::int64_t pid = 0;
  std::int64_t started_unix_ns = 0;
  std::uint64_t duration_ns = 0;  // to the last event or, when known, to the end of the process
  std::uint64_t events = 0;       // recorded ones; those the reader makes are not counted
  std::uint32_t threads = 0;
  LibraryInfo allocator;  // the one that was active
  std::string kernel;
  std::string thp;  // /sys/kernel/mm/transparent_hugepage/enabled, the chosen word
  std::uint32_t cpus = 0;
  std::string cpu_model;
  std::uint64_t stack_interval = 0;  // bytes; 0 with has_stacks: every allocation
  bool has_stacks = false;
  bool complete = false;   // the recorder closed the file; false: found as left by a kill
  bool truncated = false;  // events are missing at the end; why says the reason
  std::string truncated_why;
  int exit_code = -1;  // -1: unknown or ended by a signal
  int exit_signal = 0;
  double user_seconds = 0;  // of the recorded program, slowed down by the recording
  double system_seconds = 0;
  std::uint64_t waited_ns = 0;  // time the program's threads waited for the recorder
  std::uint64_t raw_bytes = 0;  // of the events, encoded, before compression
  std::uint64_t file_size = 0;
  bool anonymized = false;
};

}  // namespace carrel::tools
