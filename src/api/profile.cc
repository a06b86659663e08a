// Heap profiles of the process: started, stopped and written, by functions, options, a signal, at
// exit. How samples are taken is in heap/sampled_heap.h and heap/profiler.h.
#include "api/profile.h"

#include <carrel/carrel.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "api/instance.h"
#include "api/own_code.h"
#include "heap/profiler.h"
#include "profile/pprof.h"

namespace carrel::core {

constinit std::atomic<Profiler<ProcessHeap::Os>*> the_profiler{nullptr};

namespace {

using ProcessProfiler = Profiler<ProcessHeap::Os>;

/// Nanoseconds since 1970 at the last start or reset.
std::atomic<std::uint64_t> profile_begin_ns{0};

/// The signal came while the table was in use: the next sample serves it.
std::atomic<bool> dump_wanted{false};

ProcessProfiler* profiler() { return the_profiler.load(std::memory_order_acquire); }

/// Hands a file's bytes on, and remembers the first error.
struct FilePut {
  long file;
  long* error;
  bool operator()(const unsigned char* data, std::size_t size) const {
    *error = ProcessOs::write_file(file, data, size);
    return *error == 0;
  }
};

template <class Visit>
void visit_code_mappings(Visit visit) {
  ProcessOs::for_each_code_mapping(
      [](void* context, const ProcessOs::CodeMapping& mapping) {
        (*static_cast<Visit*>(context))(CodeMapping{.start = mapping.start,
                                                    .end = mapping.end,
                                                    .offset = mapping.offset,
                                                    .path = {mapping.path, mapping.path_size},
                                                    .build_id = mapping.build_id,
                                                    .build_id_size = mapping.build_id_size});
      },
      &visit);
}

/// A mapping for a while.
class Borrowed {
 public:
  explicit Borrowed(std::size_t bytes)
      : bytes_(align_up(bytes, ProcessOs::page_bytes())),
        memory_(ProcessOs::map(nullptr, bytes_)) {}
  ~Borrowed() {
    if (memory_ != nullptr) ProcessOs::unmap(memory_, bytes_);
  }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  void* get() const { return memory_; }

 private:
  std::size_t bytes_;
  void* memory_;
};

/// 0, or an error number as a negative value. The caller holds the table's lock.
long write_locked(ProcessProfiler& from, long file) {
  std::size_t frames = 16;
  from.table().for_each_stack_locked(
      [&](const SampledStack& stack, const StackSums&) { frames += stack.depth; });
  const std::size_t set_size = std::bit_ceil(2 * frames);
  const Borrowed set(set_size * sizeof(std::uintptr_t));
  const Borrowed memory(sizeof(PprofScratch<FilePut>));
  if (set.get() == nullptr || memory.get() == nullptr) return -ENOMEM;
  long error = 0;
  auto* scratch = ::new (memory.get()) PprofScratch<FilePut>(FilePut{file, &error});
  PprofWriter<ProcessHeap::Os, FilePut> writer(*scratch, static_cast<std::uintptr_t*>(set.get()),
                                               set_size);
  const std::uint64_t now = ProcessOs::wall_clock_ns();
  const PprofHeader header = {.mean_bytes = from.mean_bytes(),
                              .time_ns = now,
                              .duration_ns = now - profile_begin_ns.load()};
  writer.write(from.table(), header, [](auto visit) { visit_code_mappings(visit); });
  return error;
}

using FileName = TextBuffer<1024>;

/// The next name that nobody was given in this process.
FileName default_name() {
  static std::atomic<std::uint64_t> written{0};
  FileName name;
  char prefix[896];
  const std::size_t size = ProcessOs::environment("CARREL_PROFILE_PREFIX", prefix, sizeof prefix);
  name << (size == 0 ? TextView("carrel") : TextView(prefix, size)) << "."
       << ProcessOs::process_id() << "." << written.fetch_add(1) + 1 << ".pb.gz";
  return name;
}

/// The file that was last begun under such a name; guarded by the table's lock.
constinit FileName last_file;

long write_and_close_locked(ProcessProfiler& from, long file) {
  if (file < 0) return file;
  const long error = write_locked(from, file);
  const long closed = ProcessOs::close_file(file);
  return error != 0 ? error : closed;
}

/// Writes to a file that is not there yet, whose name is returned in `name`: what an earlier
/// program of this process number wrote stays.
long write_new_file_locked(ProcessProfiler& from, FileName& name) {
  constexpr int kTries = 10'000;
  long file = -EEXIST;
  for (int i = 0; i < kTries && file == -EEXIST; ++i) {
    name = default_name();
    file = ProcessOs::create_file(name.data(), true);
  }
  if (file >= 0) last_file = name;
  return write_and_close_locked(from, file);
}

void complain_about(const char* path, long error) {
  TextBuffer<1200> line;
  line << "carrel: heap profile not written to " << path << ": error number "
       << static_cast<std::uint64_t>(-error) << "\n";
  ProcessOs::write_stderr(line.data(), line.size());
}

/// May interrupt anything, the holder of the table's lock too.
void serve_dump_request() {
  ProcessProfiler* from = profiler();
  while (from != nullptr && dump_wanted.load() && from->table().try_lock()) {
    if (dump_wanted.exchange(false)) {
      FileName name;
      const long error = write_new_file_locked(*from, name);
      if (error != 0) complain_about(name.data(), error);
    }
    from->table().unlock();
  }
}

void on_dump_signal(int) {
  dump_wanted.store(true);
  serve_dump_request();
}

constexpr ProfileHooks kProfileHooks = {
    .prepare = [](SampleCounter& counter) { return profiler()->prepare(counter); },
    .sample =
        [](SampleCounter& counter, std::size_t size) {
          void* block = profiler()->sample(counter, size);
          if (CARREL_UNLIKELY(dump_wanted.load())) serve_dump_request();
          return block;
        },
    .sample_large =
        [](SampleCounter& counter, void* block, std::size_t size) {
          const bool taken = profiler()->sample_large(counter, block, size);
          if (CARREL_UNLIKELY(dump_wanted.load())) serve_dump_request();
          return taken;
        },
    .free = [](void* block) { profiler()->free(block); },
    .forget_large = [](const void* block) { profiler()->forget(block); },
    .release_empty = [] { profiler()->release_empty(); },
    .before_fork = [] { profiler()->before_fork(); },
    .after_fork = [](bool in_child) { profiler()->after_fork(in_child); },
};

void tell(SampleHooks::Function function, void* context, const SampleEvent& event) {
  const int saved_errno = errno;
  const carrel_sample sample = {
      .block = event.block,
      .size = event.size,
      .usable_size = process_heap.usable_size(event.block),
      .weight_bytes = event.weight_bytes,
      .lifetime_ns = event.lifetime_ns,
      .event = event.freed ? CARREL_SAMPLE_FREED : CARREL_SAMPLE_ALLOCATED};
  reinterpret_cast<carrel_sample_hook>(function)(context, &sample);
  errno = saved_errno;
}

constexpr ProfilerTies kTies = {
    .read_stack = &ProcessOs::stack_trace,
    .now_ns = &ProcessOs::steady_clock_ns,
    .in_hook = []() -> bool& { return ProcessTls::in_sample_hook_; },
    .tell = &tell,
};

carrel_result result_of(long error) {
  if (error == 0) return CARREL_OK;
  errno = static_cast<int>(-error);
  return error == -ENOMEM ? CARREL_NO_MEMORY : CARREL_IO_ERROR;
}

}  // namespace

ProcessProfiler* make_profiler() {
  static_assert(sizeof(ProcessProfiler) <= MetadataArena<ProcessHeap::Os>::kMaxRecordBytes);
  if (process_heap.profile_hooks() != nullptr) return profiler();
  if (!process_heap.initialize()) return nullptr;
  void* memory = process_heap.metadata().allocate(sizeof(ProcessProfiler));
  if (memory == nullptr) return nullptr;
  auto* mine = ::new (memory) ProcessProfiler(process_heap.context(), kTies);
  const CodeRange own = own_code();
  mine->hide(own.start, own.end);
  // Under the lock that fork takes: the hooks called before and after it are the same.
  LockGuard guard(process_heap.registry());
  if (process_heap.profile_hooks() != nullptr) {  // another thread was quicker
    process_heap.metadata().release(memory, sizeof(ProcessProfiler));
    return profiler();
  }
  the_profiler.store(mine, std::memory_order_release);
  process_heap.set_profile_hooks(&kProfileHooks);
  return mine;
}

void read_profile(ProfileNumbers& numbers) {
  ProcessProfiler* from = profiler();
  if (from == nullptr) return;
  LockGuard guard(from->table());
  const SampleTotals totals = from->table().totals_locked();
  numbers.active = from->profiled_locked() ? 1 : 0;
  numbers.hooks = from->hooks_locked().count();
  numbers.interval_bytes = from->mean_bytes();
  numbers.samples = totals.samples;
  numbers.stacks = totals.stacks;
  numbers.live_bytes = totals.live.whole_bytes();
  numbers.peak_bytes = totals.peak.whole_bytes();
}

bool last_profile_file(char* buffer, std::size_t capacity) {
  if (capacity == 0) return false;
  buffer[0] = '\0';
  ProcessProfiler* from = profiler();
  if (from == nullptr) return true;
  LockGuard guard(from->table());
  if (last_file.size() + 1 > capacity) return false;
  memcpy(buffer, last_file.data(), last_file.size() + 1);
  return true;
}

void start_profile_by_option(const Options& options) {
  const carrel_result result = carrel_profile_start(0);
  if (result != CARREL_OK) {
    TextBuffer<160> line;
    line << "carrel: option ignored: profile=1: " << carrel_result_text(result) << "\n";
    ProcessOs::write_stderr(line.data(), line.size());
    return;
  }
  if (options.profile_signal == 0) return;
  struct sigaction action = {};
  action.sa_handler = on_dump_signal;
  action.sa_flags = SA_RESTART;
  if (sigaction(static_cast<int>(options.profile_signal), &action, nullptr) != 0) {
    TextBuffer<160> line;
    line << "carrel: option ignored: profile_signal=" << std::uint64_t{options.profile_signal}
         << ": no signal that can be caught\n";
    ProcessOs::write_stderr(line.data(), line.size());
  }
}

void write_profile_at_exit() {
  ProcessProfiler* from = profiler();
  if (from == nullptr) return;
  FileName name;
  LockGuard guard(from->table());
  const long error = write_new_file_locked(*from, name);
  if (error != 0) return complain_about(name.data(), error);
  const SampleTotals totals = from->table().totals_locked();
  TextBuffer<1400> line;
  line << "carrel: heap profile in " << name.data() << ": about " << totals.live.whole_bytes()
       << " bytes in " << totals.live.whole_blocks() << " blocks live at exit ("
       << std::uint64_t{totals.samples} << " samples)\n";
  ProcessOs::write_stderr(line.data(), line.size());
}

void add_sampled_blocks(ArenaTotals& totals) {
  if (ProcessProfiler* from = profiler()) totals = from->totals();
}

}  // namespace carrel::core

namespace core = carrel::core;
using core::process_heap;

extern "C" {

carrel_result carrel_profile_start(size_t interval) {
  if constexpr (!core::ProcessHeap::kCanSample) return CARREL_UNAVAILABLE;
  if (interval > size_t{1} << 40) return CARREL_OUT_OF_RANGE;
  if (!core::ProcessOs::load_unwinder()) return CARREL_UNAVAILABLE;
  core::ProcessProfiler* profiler = core::make_profiler();
  if (profiler == nullptr) return CARREL_NO_MEMORY;
  if (interval == 0) {
    interval = size_t{process_heap.options_now().profile_interval_kib} * core::kKiB;
  }
  profiler->set_mean_bytes(interval);
  if (core::profile_begin_ns.load() == 0) {
    core::profile_begin_ns.store(core::ProcessOs::wall_clock_ns());
  }
  core::LockGuard guard(profiler->table());
  profiler->set_profiled_locked(true);
  process_heap.set_profiling(true);
  return CARREL_OK;
}

carrel_result carrel_profile_stop() {
  if constexpr (!core::ProcessHeap::kCanSample) return CARREL_UNAVAILABLE;
  core::ProcessProfiler* profiler = core::profiler();
  if (profiler == nullptr) return CARREL_OK;
  core::LockGuard guard(profiler->table());
  profiler->set_profiled_locked(false);
  process_heap.set_profiling(profiler->wanted_locked());
  return CARREL_OK;
}

carrel_result carrel_profile_reset() {
  if constexpr (!core::ProcessHeap::kCanSample) return CARREL_UNAVAILABLE;
  core::ProcessProfiler* profiler = core::profiler();
  if (profiler == nullptr) return CARREL_BAD_ARGUMENT;
  profiler->table().reset();
  core::profile_begin_ns.store(core::ProcessOs::wall_clock_ns());
  return CARREL_OK;
}

carrel_result carrel_profile_dump(const char* path) {
  if constexpr (!core::ProcessHeap::kCanSample) return CARREL_UNAVAILABLE;
  core::ProcessProfiler* profiler = core::profiler();
  if (profiler == nullptr) return CARREL_BAD_ARGUMENT;
  core::LockGuard guard(profiler->table());
  if (path == nullptr) {
    core::FileName name;
    return core::result_of(core::write_new_file_locked(*profiler, name));
  }
  const long file = core::ProcessOs::create_file(path, false);
  return core::result_of(core::write_and_close_locked(*profiler, file));
}

carrel_result carrel_profile_dump_fd(int fd) {
  if constexpr (!core::ProcessHeap::kCanSample) return CARREL_UNAVAILABLE;
  core::ProcessProfiler* profiler = core::profiler();
  if (profiler == nullptr || fd < 0) return CARREL_BAD_ARGUMENT;
  core::LockGuard guard(profiler->table());
  return core::result_of(core::write_locked(*profiler, fd));
}

}  // extern "C"
