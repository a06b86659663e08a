// How long single calls take: every malloc and every free of a random mix is timed by itself, and
// the report gives median, p99, p99.9, p99.99 and maximum of each in nanoseconds.
//
// Two threads run, as on a busy server. Times go into logarithmic histograms in static storage (64
// steps for each doubling, so within 1.6%). Nothing is subtracted: the timer's own cost is reported
// as timer_p50, and timer_max is the longest of as many empty intervals, which is what the
// machine's interruptions alone cost. Calls above a millisecond are counted twice over: all of
// them, and those during which the kernel did not take the processor away (own), which are the
// allocator's doing.
#include <sys/resource.h>

#include "bench.hpp"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace {

// Cycles on x86-64, nanoseconds elsewhere; nanoseconds_per_tick() converts.
inline std::uint64_t ticks() {
#if defined(__x86_64__)
  unsigned processor = 0;
  const std::uint64_t now = __rdtscp(&processor);
  _mm_lfence();
  return now;
#else
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000u +
         static_cast<std::uint64_t>(now.tv_nsec);
#endif
}

double nanoseconds_per_tick() {
  const double start = bench::now_seconds();
  const std::uint64_t from = ticks();
  while (bench::now_seconds() - start < 0.05) {
  }
  const std::uint64_t to = ticks();
  return (bench::now_seconds() - start) * 1e9 / static_cast<double>(to - from);
}

// How often this thread was preempted so far, as the kernel counts.
long preemptions() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

std::uint64_t long_call = ~std::uint64_t{0};  // a millisecond in ticks, once that is known
thread_local long preempted_before = 0;

class Histogram {
 public:
  void add(std::uint64_t value) {
    counts_[index(value)]++;
    total_++;
    if (value > max_) max_ = value;
    if (value > long_call) [[unlikely]]
      add_long(value);
  }
  void merge(const Histogram& other) {
    for (std::size_t i = 0; i < kCells; i++) counts_[i] += other.counts_[i];
    total_ += other.total_;
    if (other.max_ > max_) max_ = other.max_;
    long_ += other.long_;
    own_long_ += other.own_long_;
    if (other.own_max_ > own_max_) own_max_ = other.own_max_;
  }
  // The upper edge of the cell in which the given fraction of all values has been passed.
  double quantile(double fraction) const {
    const auto rank = static_cast<std::uint64_t>(static_cast<double>(total_) * fraction);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < kCells; i++) {
      seen += counts_[i];
      if (seen > rank) return static_cast<double>(upper_edge(i));
    }
    return static_cast<double>(max_);
  }
  double max() const { return static_cast<double>(max_); }
  double long_calls() const { return static_cast<double>(long_); }
  double own_long_calls() const { return static_cast<double>(own_long_); }
  double own_max() const { return static_cast<double>(own_max_); }

 private:
  static constexpr unsigned kStepBits = 6;
  static constexpr std::size_t kCells = (64 - kStepBits + 1) << kStepBits;

  void add_long(std::uint64_t value) {
    long_++;
    const long now = preemptions();
    if (now == preempted_before) {
      own_long_++;
      if (value > own_max_) own_max_ = value;
    }
    preempted_before = now;
  }

  static std::size_t index(std::uint64_t value) {
    if (value < (1u << kStepBits)) return value;
    const unsigned top = 63 - static_cast<unsigned>(__builtin_clzll(value));
    const unsigned shift = top - kStepBits;
    return (static_cast<std::size_t>(shift + 1) << kStepBits) +
           ((value >> shift) & ((1u << kStepBits) - 1));
  }
  static std::uint64_t upper_edge(std::size_t cell) {
    if (cell < (1u << kStepBits)) return cell;
    const std::uint64_t shift = (cell >> kStepBits) - 1;
    const std::uint64_t step = (cell & ((1u << kStepBits) - 1)) + (1u << kStepBits);
    return ((step + 1) << shift) - 1;
  }

  std::uint64_t counts_[kCells];
  std::uint64_t total_;
  std::uint64_t max_;
  std::uint64_t long_;
  std::uint64_t own_long_;
  std::uint64_t own_max_;
};

constexpr unsigned kMaxThreads = 16;
constexpr std::size_t kLive = 50000;

// Static, and touched before the clock starts, so that no timed interval contains their page
// faults.
Histogram malloc_times[kMaxThreads];
Histogram free_times[kMaxThreads];
Histogram timer_times[kMaxThreads];
struct Slot {
  void* block;
  std::size_t size;
};
Slot slots[kMaxThreads][kLive];

// Mostly small, now and then up to 64 KiB, one in 20,000 up to a mebibyte.
std::size_t next_size(bench::Rng& rng) {
  if (rng.below(20000) == 0) return rng.between(65536, 1 << 20);
  return rng.program_size(16, 65536);
}

void run(unsigned thread, std::size_t steps, std::uint64_t seed) {
  bench::Rng rng(seed);
  for (std::size_t i = 0; i < steps; i++) {
    Slot& slot = slots[thread][rng.below(kLive)];
    const std::size_t size = next_size(rng);
    if (slot.block != nullptr) {
      bench::check(slot.block, slot.size, slot.size);
      const std::uint64_t from = ticks();
      std::free(slot.block);
      free_times[thread].add(ticks() - from);
    }
    const std::uint64_t from = ticks();
    void* block = std::malloc(size);
    const std::uint64_t to = ticks();
    malloc_times[thread].add(to - from);
    if (block == nullptr) bench::die("malloc(%zu) returned null", size);
    bench::mark(block, size, size);
    slot = {block, size};
    // Preemptions between the timed calls must not excuse a later one.
    if (i % 512 == 0) preempted_before = preemptions();
    const std::uint64_t empty = ticks();
    timer_times[thread].add(ticks() - empty);
  }
}

void add_quantiles(bench::Report& report, const char* what, const Histogram& times, double unit) {
  struct {
    const char* name;
    double fraction;
  } const kPoints[] = {{"p50", 0.5}, {"p99", 0.99}, {"p99_9", 0.999}, {"p99_99", 0.9999}};
  char name[48];
  for (const auto& point : kPoints) {
    std::snprintf(name, sizeof(name), "%s_%s_ns", what, point.name);
    report.add(name, times.quantile(point.fraction) * unit);
  }
  std::snprintf(name, sizeof(name), "%s_max_ns", what);
  report.add(name, times.max() * unit);
  std::snprintf(name, sizeof(name), "%s_over_1ms", what);
  report.add(name, times.long_calls());
  std::snprintf(name, sizeof(name), "%s_over_1ms_own", what);
  report.add(name, times.own_long_calls());
  std::snprintf(name, sizeof(name), "%s_over_1ms_own_max_ns", what);
  report.add(name, times.own_max() * unit);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  const unsigned threads = options.threads != 0 ? options.threads : 2;
  if (threads > kMaxThreads) bench::die("at most %u threads", kMaxThreads);
  const std::size_t steps = options.scaled(1.2e6);
  std::memset(malloc_times, 0, sizeof(malloc_times));
  std::memset(free_times, 0, sizeof(free_times));
  std::memset(timer_times, 0, sizeof(timer_times));
  std::memset(slots, 0, sizeof(slots));
  const double unit = nanoseconds_per_tick();
  long_call = static_cast<std::uint64_t>(1e6 / unit);

  const double seconds = bench::run_threads(threads, [&](unsigned i) {
    run(i, steps, options.seed + i);
    for (Slot& slot : slots[i]) std::free(slot.block);
  });
  for (unsigned i = 1; i < threads; i++) {
    malloc_times[0].merge(malloc_times[i]);
    free_times[0].merge(free_times[i]);
    timer_times[0].merge(timer_times[i]);
  }
  bench::Report report(steps * threads, seconds);
  add_quantiles(report, "malloc", malloc_times[0], unit);
  add_quantiles(report, "free", free_times[0], unit);
  add_quantiles(report, "timer", timer_times[0], unit);
  return report.print();
}
