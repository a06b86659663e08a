// Reading another process through process_vm_readv and /proc.
#include "live/target.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "base/files.h"
#include "live/threads.h"

namespace carrel::tools {

namespace {

// On one line, without what a terminal might obey.
std::string clean_line(std::string text) {
  while (!text.empty() && (text.back() == '\0' || text.back() == '\n')) text.pop_back();
  for (char& c : text) {
    if ((c >= 0 && c < ' ') || c == '\x7f') c = ' ';
  }
  return text;
}

}  // namespace

Target::Target(pid_t pid) : pid_(pid), thread_(pid) {
  const std::string folder = fmt::format("/proc/{}", pid);
  if (access(folder.c_str(), F_OK) != 0) {
    throw UserError("there is no process {}; ps shows them", pid);
  }
  choose_thread();
  name_ = clean_line(text_of(folder + "/comm"));
  command_ = clean_line(text_of(proc_file("cmdline")));
  pagemap_ = open(proc_file("pagemap").c_str(), O_RDONLY | O_CLOEXEC);
}

// A thread that has ended leads to no memory, even if it is the process's first. True if that has
// happened to the one that was chosen, and there is another.
bool Target::choose_thread() const {
  if (!has_ended(pid_, thread_)) return false;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid_), error)) {
    const pid_t thread = std::stoi(entry.path().filename());
    if (has_ended(pid_, thread)) continue;
    thread_ = thread;
    return true;
  }
  return false;
}

Target::~Target() {
  if (pagemap_ >= 0) close(pagemap_);
}

std::string Target::proc_file(const char* name) const {
  return fmt::format("/proc/{}/task/{}/{}", pid_, thread_, name);
}

std::string Target::title() const {
  const std::string text = fmt::format("process {}: {}", pid_, command_.empty() ? name_ : command_);
  return fmt::format("{:.80}", text);
}

void Target::fail(int error) const {
  if (error == ESRCH) throw TargetEnded("process {} has ended", pid_);
  throw UserError(
      "the memory of process {} ({}) may not be read: {}; run this as root, or as its user where "
      "kernel.yama.ptrace_scope is 0",
      pid_, name_, std::strerror(error));
}

bool Target::read(std::uint64_t address, void* out, std::size_t bytes) const {
  const iovec local = {out, bytes};
  const iovec remote = {reinterpret_cast<void*>(address), bytes};
  const ssize_t got = process_vm_readv(thread_, &local, 1, &remote, 1, 0);
  const int error = got < 0 ? errno : 0;
  if (error == ESRCH && choose_thread()) return read(address, out, bytes);
  if (got < 0 && error != EFAULT && error != EINVAL && error != ENOMEM) fail(error);
  return got == static_cast<ssize_t>(bytes);
}

bool Target::copy(std::uint64_t address, std::size_t bytes, Copied& out) const {
  out.address = address;
  out.bytes.resize(bytes);
  return bytes == 0 || read(address, out.bytes.data(), bytes);
}

std::vector<Mapping> Target::mappings() const {
  std::ifstream file(proc_file("maps"));
  if (!file) fail(errno == ENOENT ? ESRCH : errno);
  std::vector<Mapping> found;
  for (std::string line; std::getline(file, line);) {
    Mapping mapping;
    char dash = 0;
    std::string permissions;
    std::string device;
    std::uint64_t inode = 0;
    std::istringstream words(line);
    words >> std::hex >> mapping.start >> dash >> mapping.end >> permissions >> mapping.offset >>
        device >> std::dec >> inode;
    std::getline(words >> std::ws, mapping.path);
    mapping.readable = permissions.starts_with('r');
    found.push_back(std::move(mapping));
  }
  if (file.bad()) fail(errno);
  return found;
}

bool Target::read_pagemap(std::uint64_t first_page, std::vector<std::uint64_t>& entries) const {
  if (pagemap_ < 0) return false;
  auto* out = reinterpret_cast<char*>(entries.data());
  const std::size_t bytes = entries.size() * sizeof entries[0];
  for (std::size_t done = 0; done < bytes;) {
    const ssize_t got = pread(pagemap_, out + done, bytes - done,
                              static_cast<off_t>(first_page * sizeof entries[0] + done));
    if (got <= 0) return false;
    done += static_cast<std::size_t>(got);
  }
  return true;
}

bool Target::resident(std::uint64_t start, std::uint64_t bytes, std::uint64_t& out) const {
  std::uint64_t pages = 0;
  if (!for_each_resident_run(start, bytes,
                             [&](std::uint64_t, std::uint64_t count) { pages += count; })) {
    return false;
  }
  out = pages * page_bytes();
  return true;
}

std::uint64_t Target::rss_bytes() const {
  std::ifstream file(proc_file("statm"));
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  file >> size >> resident;
  return resident * page_bytes();
}

std::uint64_t Target::page_bytes() {
  static const auto bytes = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

}  // namespace carrel::tools
