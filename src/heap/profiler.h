// The heap profiler: takes samples and keeps them. When it is asked, and how, is
// heap/sampled_heap.h's business; what becomes of the samples, api/profile.cc's.
//
// Thread-safe; no lock is held while a stack is read, or while a block is allocated or freed.
#pragma once

#include "heap/arena.h"
#include "heap/heap.h"
#include "profile/poisson.h"
#include "profile/sample_table.h"

namespace carrel::core {

template <OsLayer Os>
class Profiler {
 public:
  /// Fills in return addresses, innermost first; returns how many.
  using ReadStack = std::size_t (*)(const void** frames, std::size_t capacity);

  Profiler(SlabContext<Os>& context, ReadStack reader)
      : map_(context.map),
        arena_(context, kNoArena, kSampledBlock),
        table_(context.metadata),
        read_stack_(reader) {
    arena_.set_in_use(true);
  }
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  SampleTable<Os>& table() { return table_; }
  std::uint64_t mean_bytes() const { return mean_bytes_.load(std::memory_order_relaxed); }
  /// What is sampled stands for as much as it did when it was; a thread goes by it from its next
  /// prepare() on.
  void set_mean_bytes(std::uint64_t bytes) { mean_bytes_.store(bytes, std::memory_order_relaxed); }
  /// Innermost frames in this range are left out: carrel's own.
  void hide(std::uintptr_t start, std::uintptr_t end) {
    hidden_start_ = start;
    hidden_end_ = end;
  }

  /// Blocks and bytes in the slabs of small sampled blocks.
  ArenaTotals totals() {
    ArenaTotals totals;
    arena_.totals(totals);
    return totals;
  }

  // What the heap calls; see ProfileHooks.

  /// To begin the countdown anew loses nothing: it has no memory of what was counted.
  void prepare(ThreadCache& stand_in) {
    if (stand_in.sample_mean == mean_bytes()) return;
    if (stand_in.random_state == 0) stand_in.random_state = Os::random_word() | 1;
    draw(stand_in);
  }

  void* sample(ThreadCache& stand_in, std::size_t size) {
    Sampling sampling(*this, stand_in);
    if (sampling.nested) return nullptr;
    StackTrace trace;
    read_stack(trace);
    void* block = arena_.allocate(size, kSlotAlignment, false);
    if (block == nullptr) return nullptr;
    if (add(stand_in, block, size, trace)) return block;
    arena_.free(span_of(block), block, [] {});
    return nullptr;
  }

  bool sample_large(ThreadCache& stand_in, void* block, std::size_t size) {
    Sampling sampling(*this, stand_in);
    if (sampling.nested) return false;
    StackTrace trace;
    read_stack(trace);
    return add(stand_in, block, size, trace);
  }

  void free(void* block) {
    // First out of the table: its address may be sampled again at once. What is not in it is for
    // the slab to judge.
    table_.remove(block);
    arena_.free(span_of(block), block, [] {});
  }

  void release_empty() { arena_.release_empty(); }

  void before_fork() {
    arena_.lock();
    table_.lock();
  }
  void after_fork(bool in_child) {
    if (in_child) {
      table_.reset_after_fork();
      arena_.reset_after_fork();
    } else {
      table_.unlock();
      arena_.unlock();
    }
  }

 private:
  friend struct HeapLayoutTable;  // says where these are: api/heap_layout.cc
  static constexpr std::uint32_t kNoArena = 0xFFFFFFFF;

  /// While a sample is taken the thread's other requests are not sampled: the unwinder may
  /// allocate. Afterwards the next countdown begins.
  struct Sampling {
    Sampling(const Profiler& profiler, ThreadCache& cache)
        : nested(cache.sampling), profiler_(profiler), cache_(cache) {
      cache.sampling = true;
    }
    ~Sampling() {
      if (nested) return;
      cache_.sampling = false;
      profiler_.draw(cache_);
    }
    Sampling(const Sampling&) = delete;
    Sampling& operator=(const Sampling&) = delete;
    const bool nested;

   private:
    const Profiler& profiler_;
    ThreadCache& cache_;
  };

  Span* span_of(const void* block) const { return map_.span_of(block); }

  void read_stack(StackTrace& trace) const {
    const void* frames[StackTrace::kMaxFrames + kMostHidden];
    const std::size_t count = read_stack_(frames, StackTrace::kMaxFrames + kMostHidden);
    std::size_t first = 0;
    while (first < count &&
           address_of(frames[first]) - hidden_start_ < hidden_end_ - hidden_start_) {
      ++first;
    }
    std::size_t depth = count - first;
    if (depth > StackTrace::kMaxFrames) depth = StackTrace::kMaxFrames;
    memcpy(trace.frames, frames + first, depth * sizeof(void*));
    trace.depth = static_cast<std::uint32_t>(depth);
  }

  /// By the mean that the countdown was drawn with.
  bool add(const ThreadCache& stand_in, void* block, std::size_t size, const StackTrace& trace) {
    return table_.add(block, size, sample_weight(size, stand_in.sample_mean), trace);
  }

  void draw(ThreadCache& stand_in) const {
    stand_in.sample_mean = mean_bytes();
    stand_in.bytes_until_sample = next_distance(stand_in.random_state, stand_in.sample_mean);
  }

  static constexpr std::size_t kMostHidden = 16;

  PageMap<Os>& map_;
  Arena<Os> arena_;
  SampleTable<Os> table_;
  ReadStack read_stack_;
  std::atomic<std::uint64_t> mean_bytes_{512 * kKiB};
  std::uintptr_t hidden_start_ = 0;
  std::uintptr_t hidden_end_ = 0;
};

}  // namespace carrel::core
