// Asking a program before its first line, and a process through its memory.
#include "launch/proof.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>

#include "base/error.h"
#include "launch/elf_file.h"
#include "launch/paths.h"
#include "launch/spawn.h"

namespace carrel::tools {

namespace fs = std::filesystem;

namespace {

constexpr int kReportFd = 200;  // beyond what programs and shells use by habit

std::string read_all(int fd, int timeout_ms) {
  std::string text;
  char buffer[4096];
  for (;;) {
    pollfd wait = {fd, POLLIN, 0};
    if (poll(&wait, 1, timeout_ms) <= 0) break;
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got <= 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return text;
}

// Memory of another process.
class Memory {
 public:
  explicit Memory(pid_t pid) : pid_(pid) {}

  template <typename T>
  bool read(std::uint64_t address, T& out) const {
    iovec local = {&out, sizeof(out)};
    iovec remote = {reinterpret_cast<void*>(address), sizeof(out)};
    return process_vm_readv(pid_, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(sizeof(out));
  }

  std::string text(std::uint64_t address) const {
    std::string out;
    for (char c = 0; out.size() < 4096 && read(address + out.size(), c) && c != 0;) out += c;
    return out;
  }

 private:
  pid_t pid_;
};

std::uint64_t auxiliary(pid_t pid, std::uint64_t wanted) {
  std::ifstream file(fmt::format("/proc/{}/auxv", pid), std::ios::binary);
  Elf64_auxv_t entry;
  while (file.read(reinterpret_cast<char*>(&entry), sizeof(entry))) {
    if (entry.a_type == wanted) return entry.a_un.a_val;
  }
  return 0;
}

// The address of the dynamic linker's list of loaded files.
std::uint64_t find_debug(pid_t pid, const Memory& memory) {
  const std::uint64_t headers = auxiliary(pid, AT_PHDR);
  const std::uint64_t count = auxiliary(pid, AT_PHNUM);
  std::uint64_t bias = 0;
  std::uint64_t dynamic = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    Elf64_Phdr header;
    if (!memory.read(headers + i * sizeof(header), header)) return 0;
    if (header.p_type == PT_PHDR) bias = headers - header.p_vaddr;
    if (header.p_type == PT_DYNAMIC) dynamic = header.p_vaddr;
  }
  if (dynamic == 0) return 0;
  for (std::uint64_t at = bias + dynamic;; at += sizeof(Elf64_Dyn)) {
    Elf64_Dyn entry;
    if (!memory.read(at, entry) || entry.d_tag == DT_NULL) return 0;
    if (entry.d_tag == DT_DEBUG) return entry.d_un.d_ptr;
  }
}

}  // namespace

std::string Bindings::malloc() const {
  const auto found = files.find("malloc");
  return found == files.end() ? std::string{} : found->second;
}

Bindings ask_program(const std::vector<std::string>& command, const Allocator& allocator) {
  const fs::path check = own_file("libcarrel-check.so");
  int report[2];
  int messages[2];
  if (pipe2(report, O_CLOEXEC) != 0 || pipe2(messages, O_CLOEXEC) != 0) {
    throw UserError("cannot make a pipe: {}", std::strerror(errno));
  }
  // The process id stands in the setting, and is known only in the child.
  std::string setting = fmt::format("CARREL_CHECK={:<48}", "");
  const std::vector<std::string> environment = environment_for(allocator, {check}, {setting});
  char* const value = const_cast<char*>(environment.back().c_str()) + 13;
  const pid_t child = spawn(command, environment, [&] {
    const auto end = fmt::format_to_n(value, 47, "{}:report:{}", getpid(), kReportFd).out;
    *end = 0;
    dup2(report[1], kReportFd);
    dup2(messages[1], STDERR_FILENO);
    const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(nothing, STDIN_FILENO);
    dup2(nothing, STDOUT_FILENO);
  });
  close(report[1]);
  close(messages[1]);
  const std::string answer = read_all(report[0], 10'000);
  // A program that gave no answer may be running by now; it was not to.
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  Bindings bindings;
  bindings.loader_messages = read_all(messages[0], 0);
  close(report[0]);
  close(messages[0]);
  for (std::size_t at = 0; at < answer.size();) {
    const std::size_t end = std::min(answer.find('\n', at), answer.size());
    const std::string line = answer.substr(at, end - at);
    const std::size_t equals = line.find('=');
    if (equals != std::string::npos)
      bindings.files[line.substr(0, equals)] = line.substr(equals + 1);
    at = end + 1;
  }
  if (bindings.files.empty()) {
    throw UserError("{} did not load carrel's check: {}", command[0],
                    bindings.loader_messages.empty() ? "its dynamic linker ignores LD_PRELOAD"
                                                     : bindings.loader_messages);
  }
  return bindings;
}

Bindings ask_process(pid_t pid) {
  std::error_code error;
  const std::string root = fmt::format("/proc/{}", pid);
  if (!fs::exists(root, error)) throw UserError("there is no process {}; see ps", pid);
  const fs::path executable = fs::read_symlink(root + "/exe", error);
  if (error) {
    throw UserError("process {} may not be looked at: {}; run this as its user or as root", pid,
                    error.message());
  }
  const ElfFile elf = read_elf(root + "/exe");
  if (elf.interpreter.empty()) {
    throw UserError("process {} ({}) is linked statically: what serves malloc is inside it{}", pid,
                    executable.string(),
                    elf.allocators_inside.empty() ? "" : ", " + elf.allocators_inside.front());
  }
  const Memory memory(pid);
  const std::uint64_t debug = find_debug(pid, memory);
  r_debug list;
  if (debug == 0 || !memory.read(debug, list)) {
    throw UserError("the memory of process {} may not be read; run this as its user or as root",
                    pid);
  }
  // Files in the order of the search: the executable, the preloaded ones, then what they need. The
  // ones loaded later by dlopen stand behind and don't count.
  Bindings bindings;
  link_map map;
  for (auto at = reinterpret_cast<std::uint64_t>(list.r_map); at != 0;
       at = reinterpret_cast<std::uint64_t>(map.l_next)) {
    if (!memory.read(at, map)) break;
    std::string name = memory.text(reinterpret_cast<std::uint64_t>(map.l_name));
    const bool first = at == reinterpret_cast<std::uint64_t>(list.r_map);
    if (first) name = executable.string();
    if (name.empty() || name.starts_with("linux-vdso")) continue;
    const fs::path seen = root + "/root" + name;
    if (!first && !fs::exists(seen, error)) continue;
    const ElfFile file = first ? elf : read_elf(seen);
    for (const std::string& symbol : file.exported) bindings.files.try_emplace(symbol, name);
  }
  return bindings;
}

bool is_of(const Allocator& allocator, const std::string& file) {
  if (allocator.is_system()) return allocator_name_of(file) == "glibc";
  std::error_code error;
  return fs::equivalent(allocator.library, file, error);
}

std::vector<std::string> proving_environment(const Allocator& allocator) {
  if (allocator.is_system()) return environment_for(allocator);
  std::error_code error;
  const fs::path real = fs::canonical(allocator.library, error);
  return environment_for(allocator, {own_file("libcarrel-check.so")},
                         {fmt::format("CARREL_CHECK={}:run:{}", getpid(),
                                      error ? allocator.library.string() : real.string())});
}

}  // namespace carrel::tools
