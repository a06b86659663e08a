// The recorded processes themselves: their traces' beginnings and ends, memory, mappings.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <system_error>

#include "base/error.h"
#include "base/machine.h"
#include "launch/elf_file.h"
#include "launch/linked_in.h"
#include "record/modules.h"
#include "record/session.h"

namespace carrel::tools {

namespace fs = std::filesystem;

namespace {

std::vector<std::string> command_of(std::int64_t pid) {
  std::ifstream file(fmt::format("/proc/{}/cmdline", pid), std::ios::binary);
  std::vector<std::string> words;
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  return words;
}

// What is known of the allocator that serves a process, from what its hook said.
LibraryInfo allocator_of(const channel::Process& shared) {
  if (shared.allocator[0] == 0) return {};
  LibraryInfo info = describe_library(shared.allocator);
  if (shared.linked_in == 0) return info;
  info.version.clear();
  if (shared.allocator_name[0] != 0) {
    info.name = allocator_name_of(shared.allocator_name);
  } else {
    info.name = "unknown";
    try {
      const ElfFile elf = read_elf(fmt::format("/proc/{}/exe", shared.pid.load()));
      if (!elf.allocators_inside.empty()) {
        info.name = elf.allocators_inside.front();
      } else if (elf.has_own_libc_malloc) {
        info.name = "libc";
      }
    } catch (const UserError&) {
      // It has ended.
    }
  }
  info.name += kLinkedIn;
  return info;
}

// Whether the executable's own malloc comes before anything preloaded.
bool brings_malloc(std::int64_t pid) {
  try {
    const ElfFile elf = read_elf(fmt::format("/proc/{}/exe", pid));
    return elf.exports("malloc") && elf.hook_version == 0;
  } catch (const UserError&) {
    return false;  // it has ended
  }
}

fs::path name_with(const fs::path& output, const std::string& part) {
  fs::path path = output;
  return path.replace_filename(output.stem().string() + "." + part + output.extension().string());
}

}  // namespace

void Session::open_trace(std::uint32_t index) {
  const channel::Process& shared = control_->processes[index];
  auto process = std::make_unique<Tracked>();
  process->index = index;
  process->pid = shared.pid.load(std::memory_order_relaxed);
  fs::path path = options_.output;
  const bool root = process->pid == control_->root_pid;
  if (!root) path = name_with(path, std::to_string(process->pid));
  // The same process again: it became another program by exec. What it was before is over.
  for (const auto& other : processes_) {
    if (other->pid != process->pid || other->closed) continue;
    other->alive = false;
    while (read_blocks()) {  // what it had said until then
    }
    for (auto& [thread, stream] : other->streams) {
      flush(*other, thread, *stream);
    }
    write_stacks(*other);
    other->end_ns = now_ns();
    other->end_ticks = ticks();
    other->closed = true;
    if (options_.follow_fork) {
      const fs::path aside =
          name_with(options_.output, fmt::format("{}.exec{}", other->pid, other->index));
      std::error_code error;
      fs::rename(other->writer->path(), aside, error);
      if (!error) other->file = aside;
    } else {
      std::error_code error;
      fs::remove(other->writer->path(), error);  // the new program's trace takes its name
      other->file.clear();
    }
  }
  LibraryInfo allocator = allocator_of(shared);
  if (!options_.allocator.is_system() && !allocator.path.empty()) {
    std::error_code error;
    if (fs::equivalent(allocator.path, options_.allocator.library, error)) {
      allocator.name = options_.allocator.name;
    }
  }
  std::error_code error;
  const Machine machine = this_machine();
  const auto unix_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(
                           std::chrono::system_clock::now().time_since_epoch())
                           .count();
  const nlohmann::json info = {
      {"command", root ? options_.command : command_of(process->pid)},
      {"executable", fs::read_symlink(fmt::format("/proc/{}/exe", process->pid), error).string()},
      {"pid", process->pid},
      {"started_unix_ns", unix_ns - static_cast<std::int64_t>(now_ns())},
      {"clock_base", start_ticks_},
      {"ticks_per_ns", ticks_per_ns_},
      {"has_stacks", options_.stacks},
      {"stack_interval", options_.stack_interval},
      {"allocator", to_json(allocator)},
      {"kernel", machine.kernel},
      {"thp", machine.thp},
      {"cpus", machine.cpus},
      {"cpu_model", machine.cpu_model}};
  process->allocator = is_linked_in(allocator.name)
                           ? fmt::format("{}, {}", allocator.name, allocator.path)
                           : allocator.path;
  process->writer = std::make_unique<TraceWriter>(path, info);
  process->file = path;
  if (options_.say && brings_malloc(process->pid)) {
    options_.say(fmt::format(
        "process {} ({}) exports malloc itself: what it allocates is not seen; see carrel doctor",
        process->pid, fs::path(info.at("executable").get<std::string>()).filename().string()));
  }
  sample_memory(*process);
  if (options_.stacks) read_modules(*process);
  processes_.push_back(std::move(process));
}

void Session::check_alive(Tracked& process) {
  if (!process.alive) return;
  // A zombie is gone as well: its state says Z. Its parent may not have looked yet.
  std::ifstream file(fmt::format("/proc/{}/stat", process.pid));
  std::string line;
  std::getline(file, line);
  const std::size_t name_end = line.rfind(')');
  const bool gone = name_end == std::string::npos || name_end + 2 >= line.size() ||
                    line[name_end + 2] == 'Z' || line[name_end + 2] == 'X';
  if (!gone) return;
  process.alive = false;
  process.end_ns = now_ns();
  process.end_ticks = ticks();
}

void Session::sample_memory(Tracked& process) {
  char text[4096];
  std::FILE* const file = std::fopen(fmt::format("/proc/{}/status", process.pid).c_str(), "re");
  if (file == nullptr) return;
  MemorySample sample;
  bool any = false;
  while (std::fgets(text, sizeof(text), file) != nullptr) {
    unsigned long long kib = 0;
    if (std::sscanf(text, "RssAnon: %llu kB", &kib) == 1) {
      sample.anon_bytes = kib * 1024;
      any = true;
    } else if (std::sscanf(text, "RssFile: %llu kB", &kib) == 1) {
      sample.file_bytes = kib * 1024;
      break;
    }
  }
  std::fclose(file);
  sample.time_ns = now_ns();
  if (any) process.samples.push_back(sample);
}

bool Session::in_module(const Tracked& process, std::uint64_t pc) const {
  return std::any_of(process.modules.begin(), process.modules.end(),
                     [pc](const Module& module) { return pc >= module.begin && pc < module.end; });
}

void Session::read_modules(Tracked& process) {
  process.unknown_frames = false;
  std::ifstream maps(fmt::format("/proc/{}/maps", process.pid));
  for (std::string line; std::getline(maps, line);) {
    if (std::optional<Module> module = code_mapping(line)) {
      add_module(process.modules, std::move(*module));
    }
  }
}

void Session::write_stacks(Tracked& process) {
  if (!process.new_stacks.empty()) {
    const auto first =
        static_cast<std::uint32_t>(process.stack_numbers.size() - process.new_stacks.size()) + 1;
    write(process, [&](TraceWriter& writer) { writer.stacks(first, process.new_stacks); });
    process.new_stacks.clear();
  }
  if (process.modules_written < process.modules.size()) {
    write(process, [&](TraceWriter& writer) {
      writer.modules(
          {process.modules.begin() + static_cast<std::ptrdiff_t>(process.modules_written),
           process.modules.end()});
    });
    process.modules_written = process.modules.size();
  }
}

void Session::finish(RecordResult& result) {
  for (const auto& process : processes_) {
    Tracked& one = *process;
    if (one.end_ns == 0) {
      one.end_ns = now_ns();
      one.end_ticks = ticks();
    }
    const bool root = one.pid == control_->root_pid;
    if (one.truncated_why.empty()) one.truncated_why = stop_why_;
    const std::uint64_t waited = control_->processes[one.index].waited_ns.load();
    write_stacks(one);
    const nlohmann::json end = {{"truncated", !one.truncated_why.empty()},
                                {"truncated_why", one.truncated_why},
                                {"exit_code", root ? result.exit_code : -1},
                                {"exit_signal", root ? result.exit_signal : 0},
                                {"user_seconds", root ? result.user_seconds : 0},
                                {"system_seconds", root ? result.system_seconds : 0},
                                {"waited_ns", waited},
                                {"duration_ns", one.end_ns},
                                {"end_ticks", one.end_ticks},
                                {"raw_bytes", one.writer->raw_event_bytes()}};
    write(one, [&](TraceWriter& writer) {
      if (!one.samples.empty()) writer.memory(one.samples, {ticks(), now_ns()});
      writer.finish(end);
    });
    // What the first program did before it became another by exec was replaced by the new file.
    if (one.closed && !options_.follow_fork) continue;
    RecordedProcess said;
    said.pid = one.pid;
    said.file = one.file;
    said.events = one.writer->event_count();
    said.raw_bytes = one.writer->raw_event_bytes();
    said.file_bytes = one.writer->bytes();
    said.waited_ns = waited;
    said.truncated = !one.truncated_why.empty();
    said.truncated_why = one.truncated_why;
    said.allocator = one.allocator;
    // Of a trace that ends early, a picture's events may be missing.
    if (one.unwritable) one.peak.reset(), one.end.reset();
    if (one.peak) said.pictures.push_back(std::move(*one.peak));
    if (one.end) said.pictures.push_back(std::move(*one.end));
    if (root && !one.closed) {
      result.processes.insert(result.processes.begin(), said);
    } else {
      result.processes.push_back(said);
    }
  }
  result.stopped_why = stop_why_;
  result.others = control_->inert_count.load();
  const std::uint32_t names = std::min(control_->name_count.load(), channel::kMaxNames);
  for (std::uint32_t i = 0; i < names; ++i) {
    const std::string name(control_->names[i]);
    if (!name.empty() && std::find(result.other_names.begin(), result.other_names.end(), name) ==
                             result.other_names.end()) {
      result.other_names.push_back(name);
    }
  }
}

}  // namespace carrel::tools
