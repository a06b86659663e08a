// Reading the channel: blocks, words, threads' streams.
#include "record/session.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>

#include "base/error.h"
#include "base/machine.h"
#include "base/units.h"
#include "launch/elf_file.h"

namespace carrel::tools {

namespace fs = std::filesystem;
using channel::BlockHead;
using channel::BlockState;
using channel::Control;
using channel::Process;
using channel::ProcessState;

namespace {

constexpr std::uint32_t kChunkEvents = 64 << 10;
constexpr std::uint64_t kChunkAgeNs = 500'000'000;

std::uint64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

// The processor's counter serves as a clock only where it runs at one rate and never stops.
bool counter_is_steady() {
#if defined(__x86_64__)
  std::string line;
  for (std::ifstream cpuinfo("/proc/cpuinfo"); std::getline(cpuinfo, line);) {
    if (line.starts_with("flags")) {
      return line.find(" constant_tsc") != std::string::npos &&
             line.find(" nonstop_tsc") != std::string::npos;
    }
  }
  return false;
#else
  return true;
#endif
}

std::uint32_t affordable_blocks() {
  rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return channel::kMaxBlocks;
  }
  // Under a limit on address space, a small part of it.
  const auto blocks = static_cast<std::uint32_t>(limit.rlim_cur / 16 / channel::kBlockBytes);
  return std::clamp<std::uint32_t>(blocks / 64 * 64, 64, channel::kMaxBlocks);
}

}  // namespace

Session::Session(const RecordOptions& options) : options_(options) {
  file_ = memfd_create("carrel-channel", MFD_CLOEXEC);
  const std::uint32_t blocks = affordable_blocks();
  const std::size_t total = channel::kBlocksOffset + blocks * channel::kBlockBytes;
  if (file_ < 0 || ftruncate(file_, static_cast<off_t>(total)) != 0) {
    throw UserError("cannot make shared memory for recording: {}", std::strerror(errno));
  }
  void* const memory =
      mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file_, 0);
  if (memory == MAP_FAILED) {
    throw UserError("cannot map shared memory for recording: {}; raise ulimit -v",
                    std::strerror(errno));
  }
  control_ = static_cast<Control*>(memory);  // zero is a valid beginning for every field
  control_->version = channel::kVersion;
  control_->total_bytes = total;
  control_->block_count = blocks;
  control_->follow_fork = options.follow_fork ? 1 : 0;
  control_->stacks = options.stacks ? 1 : 0;
  control_->stack_interval = options.stack_interval;
  control_->clock =
      counter_is_steady() ? channel::ClockKind::kCounter : channel::ClockKind::kSystem;
  for (std::uint32_t i = 0; i < blocks / 64; ++i) control_->free_blocks[i] = ~std::uint64_t{0};
  control_->magic = channel::kMagic;
  read_.assign(blocks, 0);
  // A first rate for the clock, for traces that a kill leaves without a better one.
  const std::uint64_t ns = monotonic_ns();
  const std::uint64_t at = ticks();
  usleep(5000);
  start_ns_ = monotonic_ns();
  start_ticks_ = ticks();
  ticks_per_ns_ = static_cast<double>(start_ticks_ - at) / static_cast<double>(start_ns_ - ns);
}

Session::~Session() {
  if (control_ != nullptr) {
    control_->stop = 1;
    munmap(control_, control_->total_bytes);
  }
  if (file_ >= 0) close(file_);
}

std::uint64_t Session::now_ns() const { return monotonic_ns() - start_ns_; }

std::uint64_t Session::ticks() const {
  if (control_->clock == channel::ClockKind::kSystem) return monotonic_ns();
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  std::uint64_t value;
  __asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
  return value;
#endif
}

std::string Session::environment() const {
  return fmt::format("{}=/proc/{}/fd/{}", channel::kEnvironment, getpid(), file_);
}

void Session::stop(const std::string& why) {
  if (stopped_.exchange(true)) return;
  stop_why_ = why;
  control_->stop.store(1, std::memory_order_relaxed);
  if (options_.say) options_.say(why + "; recording ends here, the program goes on");
}

void Session::die(const std::string& why) {
  stop(why);
  dead_.store(true, std::memory_order_relaxed);
}

void Session::write(Tracked& process, const std::function<void(TraceWriter&)>& what) {
  if (process.unwritable) return;
  try {
    what(*process.writer);
  } catch (const UserError& error) {
    process.unwritable = true;
    process.truncated_why = error.what();
    stop(error.what());
  }
}

void Session::discover() {
  const std::uint32_t count =
      std::min(control_->process_count.load(std::memory_order_relaxed), channel::kMaxProcesses);
  for (std::uint32_t i = static_cast<std::uint32_t>(processes_.size()); i < count; ++i) {
    // Acquire pairs with the hook's release: its allocator's name is there.
    if (control_->processes[i].state.load(std::memory_order_acquire) == ProcessState::kNone) break;
    open_trace(i);
  }
}

bool Session::drain() {
  discover();
  return read_blocks();
}

bool Session::read_blocks() {
  claimed_.clear();
  for (std::uint32_t group = 0; group * 64 < control_->block_count; ++group) {
    std::uint64_t bits = ~control_->free_blocks[group].load(std::memory_order_relaxed);
    for (; bits != 0; bits &= bits - 1) {
      claimed_.push_back(group * 64 + static_cast<std::uint32_t>(__builtin_ctzll(bits)));
    }
  }
  const auto key = [this](std::uint32_t block) {
    const BlockHead& head = control_->heads[block];
    return std::tuple(head.process, head.thread, head.sequence);
  };
  // A block that is claimed and not yet owned has no head to trust; it is read the next time.
  std::erase_if(claimed_, [this](std::uint32_t block) {
    return control_->heads[block].state.load(std::memory_order_acquire) == BlockState::kFree;
  });
  std::sort(claimed_.begin(), claimed_.end(),
            [&key](std::uint32_t a, std::uint32_t b) { return key(a) < key(b); });
  bool any = false;
  for (const std::uint32_t block : claimed_) any = read_block(block) || any;
  return any;
}

bool Session::read_block(std::uint32_t block) {
  const BlockHead& head = control_->heads[block];
  if (head.process >= processes_.size()) return false;
  Tracked& process = *processes_[head.process];
  std::unique_ptr<Stream>& held = process.streams[head.thread];
  if (!held) {
    held = std::make_unique<Stream>();
    held->written_ns = now_ns();
  }
  Stream& stream = *held;
  // A thread's later block may be seen before its earlier one.
  if (head.sequence != stream.sequence) return false;
  stream.system_id = head.system_id;
  // Full before the words are read, or the block may still grow.
  const bool full = head.state.load(std::memory_order_acquire) == BlockState::kFull;
  if (!stream.encoder) stream.encoder = std::make_unique<EventEncoder>();
  const std::uint32_t before = read_[block];
  words(process, stream, channel::block_words(control_, block), read_[block]);
  const bool any = read_[block] != before;
  if (full) {
    ++stream.sequence;
    free_block(block);
    control_->full.fetch_sub(1, std::memory_order_relaxed);
  }
  if (stream.encoder->events() >= kChunkEvents) flush(process, head.thread, stream);
  return any;
}

void Session::free_block(std::uint32_t block) {
  std::memset(channel::block_words(control_, block), 0, read_[block] * sizeof(std::uint64_t));
  read_[block] = 0;
  control_->heads[block].state.store(BlockState::kFree, std::memory_order_relaxed);
  // Release pairs with the claiming thread's acquire: the block is clear.
  control_->free_blocks[block / 64].fetch_or(std::uint64_t{1} << (block % 64),
                                             std::memory_order_release);
  control_->drained.fetch_add(1, std::memory_order_release);
}

void Session::words(Tracked& process, Stream& stream, const std::uint64_t* from,
                    std::uint32_t& at) {
  while (at < channel::kBlockWords) {
    const std::uint64_t word = __atomic_load_n(from + at, __ATOMIC_ACQUIRE);
    if (word == 0) return;
    ++at;
    const unsigned code = word & 31;
    if (code == channel::kWordTime) {
      stream.encoder->time(word >> 5);
      continue;
    }
    if (code == channel::kWordFrame) {
      stream.frames.push_back(word >> 16);
      continue;
    }
    const Op op = static_cast<Op>(code);
    std::uint64_t size = word >> 5 & 2047;
    unsigned alignment = 0;
    if (size == channel::kSizeFollows) {
      const std::uint64_t second = from[at++];
      size = second & ((std::uint64_t{1} << 56) - 1);
      alignment = static_cast<unsigned>(second >> 56);
    }
    std::uint32_t stack = 0;
    if (!stream.frames.empty() && begins(op)) {
      const auto [found, added] = process.stack_numbers.try_emplace(
          stream.frames, static_cast<std::uint32_t>(process.stack_numbers.size()) + 1);
      stack = found->second;
      if (added) {
        process.new_stacks.push_back(stream.frames);
        for (const std::uint64_t pc : stream.frames) {
          process.unknown_frames = process.unknown_frames || !in_module(process, pc);
        }
      }
      stream.frames.clear();
    }
    stream.encoder->event(op, word >> 16, size, alignment, stack);
    if (begins(op) || ends(op)) ++stream.block_events;
    if (op == Op::kThreadExit) stream.ended = true;
  }
}

void Session::flush(Tracked& process, std::uint32_t thread, Stream& stream) {
  stream.written_ns = now_ns();
  if (!stream.encoder) return;
  write(process, [&](TraceWriter& writer) { writer.events(thread, *stream.encoder); });
  if (!process.unwritable) check_disk_limit();
}

void Session::check_disk_limit() {
  // What the program said and is not yet in a file is still to be written after the stop, or the
  // files would not fit together. It may take a word an event at most.
  std::uint64_t total = claimed_.size() * channel::kBlockBytes;
  for (const auto& process : processes_) {
    total += process->writer->bytes();
    for (const auto& [thread, stream] : process->streams) {
      if (stream->encoder) total += stream->encoder->events() * sizeof(std::uint64_t);
    }
  }
  if (total > options_.max_disk) {
    stop(fmt::format("the limit of {} (--max-disk) was reached after {:.1f} s",
                     human_bytes(options_.max_disk), static_cast<double>(now_ns()) * 1e-9));
  }
}

void Session::wait_for_blocks() {
  control_->sleeping.store(1, std::memory_order_relaxed);
  const timespec limit = {0, 3'000'000};
  syscall(SYS_futex, &control_->sleeping, FUTEX_WAIT, 1, &limit, nullptr, 0);
  control_->sleeping.store(0, std::memory_order_relaxed);
}

void Session::check_all_alive() {
  bool alive = false;
  for (const auto& process : processes_) {
    check_alive(*process);
    alive = alive || process->alive;
  }
  recorded_alive_.store(alive, std::memory_order_relaxed);
}

void Session::take_the_rest() {
  if (dead_) return;
  // Full blocks first free the way for later ones of the same thread.
  while (drain()) {
  }
  keep_house(true);
  while (drain()) {
  }
  keep_house(true);
}

// Blocks whose threads are gone without submitting them.
void Session::reclaim() {
  for (const std::uint32_t block : claimed_) {
    const BlockHead& head = control_->heads[block];
    if (head.state.load(std::memory_order_acquire) != BlockState::kOwned ||
        head.process >= processes_.size()) {
      continue;
    }
    Tracked& process = *processes_[head.process];
    const auto found = process.streams.find(head.thread);
    if (found == process.streams.end() || found->second->sequence != head.sequence) continue;
    if (process.alive && fs::exists(fmt::format("/proc/{}/task/{}", process.pid, head.system_id))) {
      continue;
    }
    if (!found->second->encoder) found->second->encoder = std::make_unique<EventEncoder>();
    words(process, *found->second, channel::block_words(control_, block), read_[block]);
    ++found->second->sequence;
    free_block(block);
  }
}

void Session::keep_house(bool last) {
  if (control_->drained.load(std::memory_order_relaxed) != 0) {
    syscall(SYS_futex, &control_->drained, FUTEX_WAKE, 1 << 20, nullptr, nullptr, 0);
  }
  const std::uint64_t now = now_ns();
  const bool sample = now - sampled_ns_ >= sample_every_ns_;
  if (sample) sampled_ns_ = now;
  const bool look = last || now - reclaimed_ns_ >= 100'000'000;
  if (look) {
    reclaimed_ns_ = now;
    check_all_alive();
    reclaim();
    if (!last) check_disk_limit();
  }
  for (const auto& process : processes_) {
    if (process->closed) continue;
    Process& shared = control_->processes[process->index];
    if (sample && process->alive) {
      sample_memory(*process);
      picture_if_grown(*process);
    }
    if (process->unknown_frames || shared.state.load() == ProcessState::kEnding) {
      if (options_.stacks) read_modules(*process);
      if (shared.state.load() == ProcessState::kEnding) {
        if (options_.pictures) take_picture(*process, true);
        shared.state = ProcessState::kLooked;
      }
    }
    if (look) {
      write_stacks(*process);
    }
    if (shared.state.load() == ProcessState::kGaveUp && process->truncated_why.empty()) {
      process->truncated_why = "the recorder did not answer the program for 10 s";
    }
    if (look) {
      for (auto& [thread, stream] : process->streams) {
        if (!stream->encoder) continue;
        if (stream->encoder->events() != 0 && (last || now - stream->written_ns > kChunkAgeNs)) {
          flush(*process, thread, *stream);
        }
        // There may be very many threads that are gone.
        if (stream->ended && stream->encoder->events() == 0) stream->encoder.reset();
      }
    }
    if (now - process->memory_written_ns > 1'000'000'000 && !process->samples.empty()) {
      process->memory_written_ns = now;
      write(*process, [&](TraceWriter& writer) {
        writer.memory(process->samples, {ticks(), now_ns()});
      });
      process->samples.clear();
    }
  }
}

}  // namespace carrel::tools
