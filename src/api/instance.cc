// The process's heap and its ties to threads, fork, the environment and the exit.
#include "api/instance.h"

#include <carrel/carrel.h>
#include <errno.h>
#include <pthread.h>

#include "api/control_server.h"
#include "api/profile.h"
#include "api/reports.h"
#include "api/statistics.h"
#include "heap/heap_slow.h"

// Named by the Linux Standard Base, declared by no header; musl has none.
extern "C" [[gnu::weak]] int __register_atfork(void (*before)(), void (*in_parent)(),
                                               void (*in_child)(), void* object) noexcept;
// The compiler's name for this library or program, by which what is unloaded takes its handlers
// with it.
extern "C" [[gnu::visibility("hidden")]] char __dso_handle;

namespace carrel::core {

template class Heap<kPreset, ProcessOs, ProcessTls>;

constinit ProcessHeap process_heap;

CARREL_START_DATA("options") constexpr char kOptionsName[] = "CARREL_OPTIONS";

namespace {

pthread_key_t thread_key;
bool have_key = false;  // written before the heap is ready, then only read

void thread_exited(void* cache) {
  ProcessTls::current_ = &empty_cache;
  ProcessTls::exited_ = true;
  process_heap.detach_thread(static_cast<ThreadCache*>(cache));
}

template <class Text>
void write_value(Text& text, const OptionSpec& spec, std::uint32_t value) {
  if (spec.words != nullptr) {
    text << spec.words[value];
  } else {
    text << std::uint64_t{value};
  }
}

CARREL_COLD void complain(TextView key, TextView value, OptionError error) {
  constexpr std::size_t kShown = 48;  // of what may be any text
  if (key.size > kShown) key.size = kShown;
  if (value.size > kShown) value.size = kShown;
  TextBuffer<256> line;
  line << "carrel: option ignored: ";
  if (error == OptionError::kUnknownKey) {
    line << "'" << key << "' is unknown; nearest: '" << nearest_option(key).key << "'\n";
  } else {
    const OptionSpec& spec = *find_option(key);
    line << key << "=" << value << ": expected ";
    if (spec.words == nullptr) line << "a whole number ";
    line << "from ";
    write_value(line, spec, spec.minimum);
    line << " to ";
    write_value(line, spec, spec.maximum);
    line << "; nearest: " << spec.key << "=";
    write_value(line, spec, nearest_value(spec, value));
    line << "\n";
  }
  ProcessOs::write_stderr(line.data(), line.size());
}

}  // namespace

void ProcessTls::set_cache(ThreadCache* cache) {
  current_ = cache;
  const int saved_errno = errno;  // pthread_setspecific may allocate, and free() keeps errno
  pthread_setspecific(thread_key, cache);
  errno = saved_errno;
}

void ProcessTls::before_ready() {
  // Without a key no thread can be told to give its cache back: none gets one.
  have_key = pthread_key_create(&thread_key, thread_exited) == 0;
}

bool ProcessTls::may_attach() { return have_key && !exited_; }

namespace {

/// Constructors have run: nothing needs the dynamic loader to be done first.
constinit bool constructed = false;

void start_by_options(const Options& options) {
  if (options.report_stacks != 0) start_report_stacks();
  if (options.profile != 0) start_profile_by_option(options);
  if (options.control != 0) start_control_server();
}

void watch_forks() {
  void (*const before)() = [] { process_heap.before_fork(); };
  void (*const in_parent)() = [] { process_heap.after_fork_in_parent(); };
  void (*const in_child)() = [] {
    process_heap.after_fork_in_child();
    if (process_heap.options().control != 0) restart_control_server();
  };
  // What pthread_atfork() calls: its own code lies apart from all else that runs at the start, and
  // would cost a trivial process more pages.
  if (__register_atfork != nullptr) {
    __register_atfork(before, in_parent, in_child, &__dso_handle);
  } else {
    pthread_atfork(before, in_parent, in_child);
  }
}

}  // namespace

void ProcessTls::after_ready(const Options& options) {
  if constexpr (ProcessHeap::kCanStepAside) step_aside_if_checked();
  watch_forks();
  if (constructed) start_by_options(options);
  if (options.verbose == 0) return;
  TextBuffer<512> line;
  line << "carrel " << carrel_version() << ":";
  for (const OptionSpec& spec : kOptionTable) {
    line << " " << spec.key << "=";
    write_value(line, spec, options.*(spec.field));
  }
  line << "\n";
  ProcessOs::write_stderr(line.data(), line.size());
}

namespace {

void read_all_options(Options& options,
                      void (*complain_of)(TextView key, TextView value, OptionError error)) {
  if (&carrel_options != nullptr && carrel_options != nullptr) {
    parse_options(options, carrel_options, complain_of);
  }
  char text[1024];
  const std::size_t size = ProcessOs::environment(kOptionsName, text, sizeof text);
  parse_options(options, TextView(text, size), complain_of);
}

// Weak: a program that takes nothing but carrel's own functions gets no malloc for it.
void* malloc_in_force(std::size_t size) __attribute__((weakref("malloc")));
void free_in_force(void* block) __attribute__((weakref("free")));

/// Before the options are read for good.
bool control_is_wanted() {
  Options options;
  read_all_options(options, [](TextView, TextView, OptionError) {});
  return options.control != 0;
}

}  // namespace

void ProcessTls::read_options(Options& options) { read_all_options(options, complain); }

void ProcessTls::purger_entry() { process_heap.run_purger(); }

namespace {

// Not before: starting calls the dynamic loader, whose own allocations come first of all. A heap
// that serves nobody, as where another library is preloaded, is left alone.
[[gnu::constructor]] void look_at_options_at_start() {
  // The thread that control=1 asks for is started here rather than in the first call of malloc:
  // this is the first call, if malloc is carrel's.
  if (!process_heap.ready() && control_is_wanted()) {
    void* (*allocate)(std::size_t) = &malloc_in_force;
    CARREL_OPAQUE(allocate);
    if (allocate != nullptr) free_in_force(allocate(1));
  }
  constructed = true;
  if (process_heap.ready()) start_by_options(process_heap.options());
}

[[gnu::destructor]] void report_at_exit() {
  if (process_heap.options().stats_at_exit != 0) print_statistics();
  if (process_heap.options().profile_at_exit != 0) write_profile_at_exit();
}

}  // namespace
}  // namespace carrel::core

// How tools outside of the process find the heap: see carrel/heap_layout.hpp. Here, because every
// program that links carrel links this file.
__asm__(
    ".pushsection .note.carrel,\"a\",%note\n"
    ".balign 4\n"
    ".4byte 7, 8, 1\n"
    ".asciz \"carrel\"\n"
    ".balign 4\n"
    ".8byte carrel_heap_layout - .\n"
    ".popsection\n");
