// Reading another process through process_vm_readv and /proc.
#include "live/target.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>

namespace carrel::tools {

namespace {

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream out;
  out << file.rdbuf();
  return out.str();
}

}  // namespace

Target::Target(pid_t pid) : pid_(pid) {
  const std::string folder = fmt::format("/proc/{}", pid);
  if (access(folder.c_str(), F_OK) != 0) {
    throw UserError("there is no process {}; ps shows them", pid);
  }
  name_ = text_of(folder + "/comm");
  while (!name_.empty() && name_.back() == '\n') name_.pop_back();
  command_ = text_of(folder + "/cmdline");
  while (!command_.empty() && command_.back() == '\0') command_.pop_back();
  for (char& c : command_) {
    if (c >= 0 && c < ' ') c = ' ';
  }
  // A thread's number leads to its process too, but the kernel counts memory by process.
  pagemap_ = open((folder + "/pagemap").c_str(), O_RDONLY | O_CLOEXEC);
}

Target::~Target() {
  if (pagemap_ >= 0) close(pagemap_);
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
  const ssize_t got = process_vm_readv(pid_, &local, 1, &remote, 1, 0);
  if (got < 0 && errno != EFAULT && errno != EINVAL && errno != ENOMEM) fail(errno);
  return got == static_cast<ssize_t>(bytes);
}

bool Target::copy(std::uint64_t address, std::size_t bytes, Copied& out) const {
  out.address = address;
  out.bytes.resize(bytes);
  return bytes == 0 || read(address, out.bytes.data(), bytes);
}

std::vector<Mapping> Target::mappings() const {
  std::ifstream file(fmt::format("/proc/{}/maps", pid_));
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
  std::ifstream file(fmt::format("/proc/{}/statm", pid_));
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
