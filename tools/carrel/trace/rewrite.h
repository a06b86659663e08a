// Traces made from traces. Both read the merged events, so that the new trace holds one order over
// all threads, as the reader gives it.
#pragma once

#include <cstdint>
#include <filesystem>

namespace carrel::tools {

// Counts of recorded events, as carrel trace info counts them.
struct RewriteResult {
  std::uint64_t read = 0;     // in the old trace
  std::uint64_t written = 0;  // in the new one
  std::uint64_t made = 0;     // of those: for what lived when the stretch began
};

// Keeps the events from `from_seconds` to `to_seconds` (0: the end). What lives at the beginning is
// allocated first, at one moment, by the thread that did it: the stretch can be replayed. Throws
// UserError.
RewriteResult trim_trace(const std::filesystem::path& input, const std::filesystem::path& output,
                         double from_seconds, double to_seconds);

// The same events without command, paths, mappings and stacks; addresses are made up, in the order
// in which they appeared. Sizes, times and threads stay: they are what a replay needs, and they may
// still tell somebody who knows the program which it was. Throws UserError.
RewriteResult anonymize_trace(const std::filesystem::path& input,
                              const std::filesystem::path& output);

}  // namespace carrel::tools
