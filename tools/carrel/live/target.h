// Another process, looked at without stopping it: its memory, its mappings, what of it is resident.
// Nothing is written to it and nothing in it runs. What is read may change at any moment.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"

namespace carrel::tools {

// Thrown when the process ends while it is looked at.
class TargetEnded : public UserError {
 public:
  using UserError::UserError;
};

struct Mapping {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t offset = 0;
  bool readable = false;
  std::string path;  // empty: anonymous
};

// A piece of the process's memory, copied.
struct Copied {
  std::uint64_t address = 0;
  std::vector<std::byte> bytes;

  // The value at an address inside, or at an offset. The caller knows that it is inside.
  template <class T>
  T at(std::size_t offset) const {
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
  }
};

class Target {
 public:
  // Throws UserError when there is no such process, or it may not be read.
  explicit Target(pid_t pid);
  ~Target();
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  pid_t pid() const { return pid_; }
  // Without control characters, which a terminal might obey.
  const std::string& name() const { return name_; }        // as ps shows it
  const std::string& command() const { return command_; }  // its words, blanks between them
  // "process 12: its command", at most 80 characters.
  std::string title() const;
  // A file of its folder in /proc.
  std::string proc_file(const char* name) const;

  // False when not all of it can be read. Throws TargetEnded.
  bool read(std::uint64_t address, void* out, std::size_t bytes) const;

  template <class T>
  bool read_value(std::uint64_t address, T& out) const {
    return read(address, &out, sizeof out);
  }
  bool copy(std::uint64_t address, std::size_t bytes, Copied& out) const;

  // Throws TargetEnded, and UserError when it may not be read.
  std::vector<Mapping> mappings() const;

  // Calls visit(first, count) for every run of pages of the range that are in memory, first being
  // a page's number in the range. False where the system does not tell.
  template <class Visit>
  bool for_each_resident_run(std::uint64_t start, std::uint64_t bytes, Visit visit) const;
  // In bytes; the same answer as mincore's from inside.
  bool resident(std::uint64_t start, std::uint64_t bytes, std::uint64_t& out) const;

  // Of the whole process, in bytes: VmRSS.
  std::uint64_t rss_bytes() const;

  static std::uint64_t page_bytes();

 private:
  [[noreturn]] void fail(int error) const;
  bool choose_thread() const;
  bool read_pagemap(std::uint64_t first_page, std::vector<std::uint64_t>& entries) const;

  static constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kPagesAtOnce = 1 << 16;

  pid_t pid_;
  mutable pid_t thread_;  // through which its memory is read; the first one, if that has not ended
  int pagemap_ = -1;
  std::string name_;
  std::string command_;
};

template <class Visit>
bool Target::for_each_resident_run(std::uint64_t start, std::uint64_t bytes, Visit visit) const {
  const std::uint64_t page = page_bytes();
  const std::uint64_t pages = (bytes + page - 1) / page;
  std::vector<std::uint64_t> entries;
  for (std::uint64_t done = 0; done < pages; done += entries.size()) {
    entries.resize(std::min(kPagesAtOnce, pages - done));
    if (!read_pagemap(start / page + done, entries)) return false;
    for (std::size_t i = 0; i < entries.size();) {
      std::size_t end = i;
      while (end < entries.size() && (entries[end] & kPresent) != 0) ++end;
      if (end != i) visit(done + i, end - i);
      i = end + 1;
    }
  }
  return true;
}

}  // namespace carrel::tools
