// What every workload shares: arguments, a clock, a random number generator, block contents that
// are checked before they are freed, threads that start together, and the one line of JSON at the
// end.
//
// It knows no allocator: workloads call malloc, free, operator new and the standard library, and
// the library under test is preloaded. Nothing here allocates between a workload's start and its
// end, except the threads that a workload asks for. It measures no memory: the launcher does, from
// outside.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>
#include <thread>
#include <vector>

namespace bench {

// Ends the run: a workload that finds its data changed must not report a time.
[[noreturn, gnu::format(printf, 1, 2)]] inline void die(const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  std::fputs("workload failed: ", stderr);
  std::vfprintf(stderr, format, arguments);
  std::fputc('\n', stderr);
  va_end(arguments);
  std::_Exit(1);
}

// What a workload is asked to do. Work grows in proportion to scale; 1 takes about half a second
// to a second on two cores.
struct Options {
  double scale = 1.0;
  unsigned threads = 0;  // 0: the workload's own choice
  std::uint64_t seed = 1;
  std::size_t blocks = 0;  // 0: the workload's own choice
  double idle_seconds = 3.0;
  std::string_view mode;

  // At least `least`, so that a tiny scale still does something.
  std::size_t scaled(double amount, std::size_t least = 1) const {
    const double wanted = amount * scale;
    return wanted < static_cast<double>(least) ? least : static_cast<std::size_t>(wanted);
  }
};

inline double number_argument(std::string_view name, const char* text) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= 0)) {
    die("%.*s takes a number that is not negative, not '%s'", static_cast<int>(name.size()),
        name.data(), text);
  }
  return value;
}

// Reads the arguments; `modes` lists what --mode may be, the first being the default.
inline Options parse(int argc, char** argv, std::initializer_list<std::string_view> modes = {}) {
  Options options;
  if (modes.size() > 0) options.mode = *modes.begin();
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    if (i + 1 >= argc) die("%s needs a value", argv[i]);
    const char* value = argv[i + 1];
    if (name == "--scale") {
      options.scale = number_argument(name, value);
    } else if (name == "--threads") {
      options.threads = static_cast<unsigned>(number_argument(name, value));
    } else if (name == "--seed") {
      options.seed = static_cast<std::uint64_t>(number_argument(name, value));
    } else if (name == "--blocks") {
      options.blocks = static_cast<std::size_t>(number_argument(name, value));
    } else if (name == "--idle") {
      options.idle_seconds = number_argument(name, value);
    } else if (name == "--mode") {
      bool known = false;
      for (std::string_view mode : modes) known = known || mode == value;
      if (!known) die("unknown mode '%s'", value);
      options.mode = value;
    } else {
      die("unknown argument '%s'; known: --scale --threads --seed --blocks --idle --mode", argv[i]);
    }
  }
  return options;
}

inline double now_seconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

inline void sleep_until(double deadline) {
  timespec when{};
  when.tv_sec = static_cast<time_t>(deadline);
  when.tv_nsec = static_cast<long>((deadline - static_cast<double>(when.tv_sec)) * 1e9);
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, nullptr) != 0) {
  }
}

// splitmix64: one multiply chain, far cheaper than what is measured, the same on every machine.
class Rng {
 public:
  explicit Rng(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du) {}

  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // A number below `bound`, which is below 2^32.
  std::size_t below(std::size_t bound) { return ((next() >> 32) * bound) >> 32; }
  std::size_t between(std::size_t low, std::size_t high) { return low + below(high - low + 1); }

  // Sizes as programs ask for them: each doubling up to `high` half as likely as the one before.
  std::size_t program_size(std::size_t low, std::size_t high) {
    std::size_t top = low;
    std::uint64_t coins = next();
    while (top < high && (coins & 1) != 0) {
      top *= 2;
      coins >>= 1;
    }
    return between(low, top * 2 < high ? top * 2 : high);
  }

 private:
  std::uint64_t state_;
};

// The compiler may not assume anything about what p points to, nor drop the allocation.
inline void keep(void* p) { asm volatile("" : : "r"(p) : "memory"); }

// Marks a block as a program would use it: its first and last word, and one word of each page
// between. `tag` is what check() expects to find again.
inline void mark(void* block, std::size_t size, std::uint64_t tag) {
  auto* bytes = static_cast<unsigned char*>(block);
  if (size < sizeof(tag)) {
    if (size > 0) bytes[0] = bytes[size - 1] = static_cast<unsigned char>(tag);
    return;
  }
  for (std::size_t at = 4096; at + sizeof(tag) <= size; at += 4096) {
    std::memcpy(bytes + at, &tag, sizeof(tag));
  }
  std::memcpy(bytes + size - sizeof(tag), &tag, sizeof(tag));
  std::memcpy(bytes, &tag, sizeof(tag));
}

// Dies when the block no longer holds what mark() wrote at its ends.
inline void check(const void* block, std::size_t size, std::uint64_t tag) {
  const auto* bytes = static_cast<const unsigned char*>(block);
  if (size < sizeof(tag)) {
    if (size > 0 && (bytes[0] != static_cast<unsigned char>(tag) || bytes[size - 1] != bytes[0])) {
      die("a block of %zu bytes lost its contents", size);
    }
    return;
  }
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::memcpy(&first, bytes, sizeof(first));
  std::memcpy(&last, bytes + size - sizeof(last), sizeof(last));
  if (first != tag || last != tag) die("a block of %zu bytes lost its contents", size);
}

inline void* take(std::size_t size) {
  void* block = std::malloc(size);
  if (block == nullptr) die("malloc(%zu) returned null", size);
  keep(block);
  return block;
}

// A block that seals itself: its first word holds its size and a hash of it, so that any thread can
// check it knowing only its address; a block whose size is a multiple of eight repeats the word at
// its end. Sealing every end would add a cache miss of the harness's own to each call. Of a larger
// block every page is written once. Sizes from 16 bytes to below 4 GiB.
struct Sealed {
  static std::uint64_t seal_of(std::uint64_t size) {
    return ((size * 0x9e3779b97f4a7c15u) >> 32 << 32) | size;
  }
  static std::size_t size_of(const void* block) {
    std::uint64_t seal = 0;
    std::memcpy(&seal, block, sizeof(seal));
    const std::uint64_t size = seal & 0xffffffffu;
    if (seal != seal_of(size)) die("a block lost its first word");
    return size;
  }
  static void* make(std::size_t size) {
    void* block = take(size);
    const std::uint64_t seal = seal_of(size);
    for (std::size_t page = 4096; page < size; page += 4096) static_cast<char*>(block)[page] = 1;
    if (size % 8 == 0) {
      std::memcpy(static_cast<char*>(block) + size - sizeof(seal), &seal, sizeof(seal));
    }
    std::memcpy(block, &seal, sizeof(seal));
    return block;
  }
  static void check_and_free(void* block) {
    const std::size_t size = size_of(block);
    if (size % 8 == 0) {
      std::uint64_t seal = 0;
      std::memcpy(&seal, static_cast<char*>(block) + size - sizeof(seal), sizeof(seal));
      if (seal != seal_of(size)) die("a block of %zu bytes lost its last word", size);
    }
    // The seal is broken, so that a block handed out or freed twice is noticed.
    const std::uint64_t broken = ~std::uint64_t{0};  // no size has this seal
    std::memcpy(block, &broken, sizeof(broken));
    keep(block);
    std::free(block);
  }
};

// Runs body(0) .. body(count - 1) on threads that start together; the seconds until the last ends.
template <typename Body>
double run_threads(unsigned count, Body&& body) {
  // The last to arrive takes the time: this thread may run again only when others are done.
  double start = 0;
  const auto take_time = [&start]() noexcept { start = now_seconds(); };
  std::barrier line(static_cast<std::ptrdiff_t>(count) + 1, take_time);
  std::vector<std::thread> threads;
  threads.reserve(count);
  for (unsigned i = 0; i < count; i++) {
    threads.emplace_back([&line, &body, i] {
      line.arrive_and_wait();
      body(i);
    });
  }
  line.arrive_and_wait();
  for (std::thread& thread : threads) thread.join();
  return now_seconds() - start;
}

// The result: `ops` and `seconds` always, and whatever else a workload measures.
class Report {
 public:
  Report(std::size_t ops, double seconds) {
    length_ = std::snprintf(text_, sizeof(text_), "{\"ops\":%zu,\"seconds\":%.9f", ops, seconds);
  }
  void add(const char* name, double value) {
    length_ += std::snprintf(text_ + length_, sizeof(text_) - static_cast<std::size_t>(length_),
                             ",\"%s\":%.10g", name, value);
  }
  int print() {
    std::printf("%s}\n", text_);
    return std::fflush(stdout) == 0 ? 0 : 1;
  }

 private:
  char text_[4096];
  int length_ = 0;
};

}  // namespace bench
