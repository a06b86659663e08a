// The process's statistics, for malloc_stats and its like.
#pragma once

#include "heap/stats.h"

namespace carrel::core {

/// The process's heap in numbers, all zero before its first allocation.
void process_stats(HeapStats& stats);

/// Writes them to standard error, without allocating.
void print_statistics();

}  // namespace carrel::core
