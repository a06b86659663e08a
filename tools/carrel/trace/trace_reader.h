// TraceReader: the one way to read a trace. It finds the chunks (by the index, or by walking the
// file when a kill left none), checks them, merges the threads' events into one order and gives
// every object its number. It writes nothing and prints nothing.
//
// Memory: a chunk per thread and an entry per live object; a trace need not fit into memory.
// One reader belongs to one thread; several readers may have the same file open.
//
//   TraceReader reader("t.crl");
//   Event event;
//   while (reader.next(event)) ...
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "trace/event.h"

namespace carrel::tools {

// What the reader had to put right so far; all zero for an ordinary trace.
struct ReadNotes {
  std::uint64_t unknown_ends = 0;    // ends of blocks that were not seen to begin
  std::uint64_t lost_ends = 0;       // kLost events made
  std::uint64_t reordered = 0;       // ends moved behind a beginning that the clock put later
  std::uint64_t damaged_chunks = 0;  // left out because their check failed
  std::uint64_t missing_bytes = 0;   // at the end of the file, of a chunk cut short
};

class TraceReader {
 public:
  // Throws UserError when the file cannot be read, is no trace, or is of a later version.
  explicit TraceReader(const std::filesystem::path& path);
  ~TraceReader();
  TraceReader(TraceReader&&) noexcept;
  TraceReader& operator=(TraceReader&&) noexcept;

  const TraceInfo& info() const;
  const std::vector<MemorySample>& memory() const;  // by time
  const std::vector<Module>& modules() const;       // by address; may overlap if reused over time
  // Return addresses of a stack, the innermost first; empty for 0. Valid as long as the reader.
  std::span<const std::uint64_t> stack(std::uint32_t number) const;
  std::uint32_t stack_count() const;  // numbers run from 1 to this

  // The next event; false at the end. Throws UserError only when the file changes underneath.
  bool next(Event& event);
  // Back to the first event. Object numbers come out the same again.
  void rewind();

  const ReadNotes& notes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace carrel::tools
