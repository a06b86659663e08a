// glibc's functions about the heap as a whole: numbers, XML and tuning knobs.
//
// Numbers are of carrel's own structures, under the names that glibc's callers know. What glibc's
// malloc.h declares is declared here again, with the same layout: musl's header has none of it, and
// a program there may still be linked with objects that ask.
#include <errno.h>
#include <stdio.h>

#include "api/instance.h"
#include "api/statistics.h"

namespace core = carrel::core;

#define CARREL_EXPORT extern "C" __attribute__((visibility("default")))

namespace carrel::core {

/// glibc's struct mallinfo2 (counts are std::size_t) and struct mallinfo (counts are int).
template <class Count>
struct GlibcInfo {
  Count arena;     // bytes from the system, without large blocks
  Count ordblks;   // not counted
  Count smblks;    // not counted
  Count hblks;     // large blocks
  Count hblkhd;    // bytes in them
  Count usmblks;   // not counted
  Count fsmblks;   // bytes free in thread caches
  Count uordblks;  // bytes in the program's hands, without large blocks
  Count fordblks;  // bytes that are not
  Count keepcost;  // bytes that could be given back
};

template struct GlibcInfo<std::size_t>;
template struct GlibcInfo<int>;

/// glibc's numbers for mallopt, which programs have compiled in: M_MXFAST is 1, and from
/// M_ARENA_MAX up to M_TRIM_THRESHOLD there are no gaps.
constexpr int kMxfast = 1;
constexpr int kArenaMax = -8;
constexpr int kTrimThreshold = -1;

}  // namespace carrel::core

CARREL_EXPORT void malloc_stats() { core::print_statistics(); }

CARREL_EXPORT core::GlibcInfo<std::size_t> mallinfo2() {
  carrel_stats stats;
  core::fill_stats(stats, false);
  core::GlibcInfo<std::size_t> info = {};
  // As in glibc, large blocks are counted apart from the arena.
  info.arena = stats.mapped_bytes - stats.large_bytes;
  info.hblks = stats.large_blocks;
  info.hblkhd = stats.large_bytes;
  info.fsmblks = stats.cached_bytes;
  info.uordblks = stats.live_bytes - stats.large_bytes;
  info.fordblks = info.arena > info.uordblks ? info.arena - info.uordblks : 0;
  info.keepcost = stats.touched_bytes;
  return info;
}

// The same in ints, which wrap around as glibc's do.
CARREL_EXPORT core::GlibcInfo<int> mallinfo() {
  const core::GlibcInfo<std::size_t> wide = mallinfo2();
  core::GlibcInfo<int> info = {};
  info.arena = static_cast<int>(wide.arena);
  info.hblks = static_cast<int>(wide.hblks);
  info.hblkhd = static_cast<int>(wide.hblkhd);
  info.fsmblks = static_cast<int>(wide.fsmblks);
  info.uordblks = static_cast<int>(wide.uordblks);
  info.fordblks = static_cast<int>(wide.fordblks);
  info.keepcost = static_cast<int>(wide.keepcost);
  return info;
}

CARREL_EXPORT int malloc_info(int options, FILE* stream) {
  if (options != 0) return EINVAL;
  core::HeapStats stats;
  core::process_stats(stats);
  fprintf(stream, "<malloc version=\"carrel-1\">\n<heap nr=\"0\">\n<sizes>\n");
  for (std::uint8_t id = 1; id <= core::kClassCount; ++id) {
    const core::ClassStats& of_class = stats.classes[id];
    if (of_class.slabs == 0) continue;
    const core::ClassInfo& info = core::kClasses[id];
    fprintf(stream,
            "<class size=\"%u\" slabs=\"%zu\" slots=\"%zu\" used=\"%zu\" cached=\"%zu\"/>\n",
            info.slot_bytes, of_class.slabs, of_class.slabs * info.slots,
            of_class.used_slots - of_class.cached_slots, of_class.cached_slots);
  }
  carrel_stats totals;
  core::fill_stats(totals, false);
  fprintf(stream,
          "</sizes>\n<threads count=\"%lu\"/>\n</heap>\n"
          "<total type=\"live\" count=\"%lu\" size=\"%lu\"/>\n"
          "<total type=\"large\" count=\"%lu\" size=\"%lu\"/>\n"
          "<total type=\"cached\" size=\"%lu\"/>\n<total type=\"free\" size=\"%lu\"/>\n"
          "<system type=\"current\" size=\"%lu\"/>\n<system type=\"touched\" size=\"%lu\"/>\n"
          "<system type=\"purged\" size=\"%lu\"/>\n<system type=\"metadata\" size=\"%lu\"/>\n"
          "</malloc>\n",
          totals.threads, totals.live_blocks, totals.live_bytes, totals.large_blocks,
          totals.large_bytes, totals.cached_bytes, totals.free_bytes, totals.mapped_bytes,
          totals.touched_bytes, totals.purged_bytes, totals.metadata_bytes);
  return ferror(stream) != 0 ? -1 : 0;
}

// glibc's knobs are accepted, since programs set them in good faith; carrel has nothing
// that they would turn. Unknown ones are refused.
CARREL_EXPORT int mallopt(int parameter, int) {
  const bool known = parameter == core::kMxfast ||
                     (parameter >= core::kArenaMax && parameter <= core::kTrimThreshold);
  return known ? 1 : 0;
}
