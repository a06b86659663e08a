// Looking: smaps for the mappings, pagemap for their pages, carrel's own records for its heap.
#include "resident/picture.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "live/live_heap.h"
#include "live/target.h"

namespace carrel::tools {

namespace {

struct SmapsEntry {
  AddressRun range;
  std::string path;
  std::uint64_t rss_bytes = 0;
};

std::vector<SmapsEntry> read_smaps(const Target& target) {
  std::ifstream file(target.proc_file("smaps"));
  std::vector<SmapsEntry> entries;
  for (std::string line; std::getline(file, line);) {
    unsigned long long start = 0;
    unsigned long long end = 0;
    unsigned long long kib = 0;
    int path_at = 0;
    if (std::sscanf(line.c_str(), "Rss: %llu kB", &kib) == 1) {
      if (!entries.empty()) entries.back().rss_bytes = std::uint64_t{kib} * 1024;
    } else if (std::sscanf(line.c_str(), "%llx-%llx %*4s %*x %*s %*s %n", &start, &end, &path_at) ==
               2) {
      SmapsEntry entry;
      entry.range = {start, end};
      if (path_at != 0) entry.path = line.substr(static_cast<std::size_t>(path_at));
      entries.push_back(std::move(entry));
    }
  }
  return entries;
}

// Address space of the kernel's own that no page of the process backs.
bool is_kernels(const std::string& path) {
  return path == "[vvar]" || path == "[vdso]" || path == "[vsyscall]";
}

}  // namespace

HeapPicture look_at_heap(pid_t pid, const std::string& allocator) {
  const Target target(pid);
  HeapPicture picture;
  try {
    const LiveHeap live(target);
    std::error_code unknown;
    // A carrel that some library brings for itself is not where the recorded blocks are.
    if (std::filesystem::equivalent(live.library(), allocator, unknown)) {
      picture.heap = read_map(live, false);
      if (!picture.heap->resident_known) picture.heap.reset();
    }
  } catch (const TargetEnded&) {
    throw;
  } catch (const UserError&) {
    // Not on carrel, or not on this version of it.
  }
  const std::vector<SmapsEntry> entries = read_smaps(target);
  if (entries.empty()) throw UserError("process {} has ended", pid);
  const auto is_channel = [](const SmapsEntry& entry) {
    return entry.path.starts_with("/memfd:carrel-channel");
  };
  if (std::none_of(entries.begin(), entries.end(), is_channel)) {
    throw UserError("process {} has become a program that is not recorded", pid);
  }
  for (const SmapsEntry& entry : entries) {
    if (is_channel(entry) || is_kernels(entry.path)) continue;
    picture.rss_bytes += entry.rss_bytes;
    if (entry.path.starts_with("/")) {
      picture.file_bytes += entry.rss_bytes;
      continue;
    }
    if (entry.path == "[stack]") {
      picture.stack_bytes += entry.rss_bytes;
      continue;
    }
    if (entry.rss_bytes == 0) continue;
    picture.mappings.push_back(entry.range);
    const std::uint64_t page = Target::page_bytes();
    const bool known = target.for_each_resident_run(
        entry.range.start, entry.range.end - entry.range.start,
        [&](std::uint64_t first, std::uint64_t count) {
          const std::uint64_t start = entry.range.start + first * page;
          if (!picture.resident.empty() && picture.resident.back().end == start) {
            picture.resident.back().end += count * page;
          } else {
            picture.resident.push_back({start, start + count * page});
          }
        });
    if (!known) throw UserError("the pages of process {} may not be read", pid);
  }
  return picture;
}

}  // namespace carrel::tools
