// What has been sampled: each live block that is, and each distinct stack with its sums.
//
// Basic design: two hash tables in metadata memory, of live samples by address and of stacks by
// their frames. A stack's sums are kept in fixed point, already scaled by what each sample stands
// for, so that what an allocation adds a free takes away exactly. Stacks are never dropped.
//
// The state at the peak costs no second pass: a stack's sums are saved the first time that they
// change after a peak, and are still those of the peak otherwise.
//
// Thread-safe; the lock is of rank 0 (os/mutex.h): only metadata's is taken below it.
#pragma once

#include <cstring>
#include <new>

#include "os/mutex.h"
#include "profile/hash_table.h"

namespace carrel::core {

/// Return addresses, innermost first.
struct StackTrace {
  static constexpr std::uint32_t kMaxFrames = 128;
  const void* frames[kMaxFrames];
  std::uint32_t depth = 0;
};

/// A number of blocks, and of bytes in them, in fixed point.
struct SampleSum {
  static constexpr unsigned kBlockShift = 16;
  static constexpr unsigned kByteShift = 8;
  std::uint64_t blocks = 0;
  std::uint64_t bytes = 0;

  static SampleSum of(std::uint64_t size, double weight) {
    return {
        static_cast<std::uint64_t>(weight * (1u << kBlockShift) + 0.5),
        static_cast<std::uint64_t>(weight * static_cast<double>(size) * (1u << kByteShift) + 0.5)};
  }
  void add(const SampleSum& other) {
    blocks += other.blocks;
    bytes += other.bytes;
  }
  void subtract(const SampleSum& other) {
    blocks -= other.blocks;
    bytes -= other.bytes;
  }
  std::uint64_t whole_blocks() const { return rounded(blocks, kBlockShift); }
  std::uint64_t whole_bytes() const { return rounded(bytes, kByteShift); }

 private:
  static std::uint64_t rounded(std::uint64_t value, unsigned shift) {
    return (value + (std::uint64_t{1} << (shift - 1))) >> shift;
  }
};

/// One distinct stack; its frames follow it in memory.
struct SampledStack {
  SampledStack* next = nullptr;
  std::uint64_t hash = 0;
  SampleSum live;
  SampleSum allocated;  // since the start, or the last reset
  SampleSum saved;      // `live` at the peak of this number
  std::uint64_t saved_peak = 0;
  std::uint32_t depth = 0;

  const void** frames() { return reinterpret_cast<const void**>(this + 1); }
  const void* const* frames() const { return reinterpret_cast<const void* const*>(this + 1); }
};

/// What is known of one stack, for who writes it down.
struct StackSums {
  SampleSum allocated;
  SampleSum live;
  SampleSum at_peak;
};

struct SampleTotals {
  SampleSum live;
  SampleSum peak;
  std::size_t samples = 0;  // live ones
  std::size_t stacks = 0;
};

template <OsLayer Os>
class SampleTable {
 public:
  constexpr explicit SampleTable(MetadataArena<Os>& metadata)
      : metadata_(metadata), samples_(metadata), stacks_(metadata) {}

  /// Takes a block in that is not in yet. False when memory is exhausted.
  bool add(const void* block, std::uint64_t size, double weight, const StackTrace& trace) {
    LockGuard guard(lock_);
    SampledStack* stack = stack_of(trace);
    if (stack == nullptr) return false;
    auto* sample = static_cast<Sample*>(metadata_.allocate(sizeof(Sample)));
    if (sample == nullptr) return false;
    *sample = {.next = nullptr,
               .hash = mix_bits(address_of(block)),
               .block = block,
               .stack = stack,
               .sum = SampleSum::of(size, weight)};
    if (!samples_.insert(sample)) {
      metadata_.release(sample, sizeof(Sample));
      return false;
    }
    save_peak(*stack);
    stack->live.add(sample->sum);
    stack->allocated.add(sample->sum);
    live_.add(sample->sum);
    if (live_.bytes > peak_.bytes) {
      peak_ = live_;
      ++peak_number_;
    }
    return true;
  }

  /// False for a block that is not in.
  bool remove(const void* block) {
    LockGuard guard(lock_);
    Sample* sample = samples_.find(mix_bits(address_of(block)),
                                   [block](const Sample& each) { return each.block == block; });
    if (sample == nullptr) return false;
    samples_.remove(sample);
    save_peak(*sample->stack);
    sample->stack->live.subtract(sample->sum);
    live_.subtract(sample->sum);
    metadata_.release(sample, sizeof(Sample));
    return true;
  }

  /// Forgets what was allocated so far, and the peak; live samples stay.
  void reset() {
    LockGuard guard(lock_);
    stacks_.for_each([](SampledStack& stack) { stack.allocated = {}; });
    peak_ = live_;
    ++peak_number_;
  }

  SampleTotals totals() {
    LockGuard guard(lock_);
    return totals_locked();
  }

  // For who holds the lock.

  SampleTotals totals_locked() const {
    return {.live = live_, .peak = peak_, .samples = samples_.size(), .stacks = stacks_.size()};
  }
  /// Calls visit(const SampledStack&, const StackSums&) for each stack that has anything to tell.
  template <class Visit>
  void for_each_stack_locked(Visit visit) const {
    stacks_.for_each([&](const SampledStack& stack) {
      const bool saved = stack.saved_peak == peak_number_;
      const StackSums sums = {.allocated = stack.allocated,
                              .live = stack.live,
                              .at_peak = saved ? stack.saved : stack.live};
      if (sums.allocated.blocks + sums.live.blocks + sums.at_peak.blocks != 0) visit(stack, sums);
    });
  }

  void lock() { lock_.lock(); }
  bool try_lock() { return lock_.try_lock(); }
  void unlock() { lock_.unlock(); }
  void reset_after_fork() { lock_.reset_after_fork(); }

 private:
  struct Sample {
    Sample* next;
    std::uint64_t hash;
    const void* block;
    SampledStack* stack;
    SampleSum sum;
  };

  static_assert(sizeof(SampledStack) + StackTrace::kMaxFrames * sizeof(void*) <=
                MetadataArena<Os>::kMaxRecordBytes);

  SampledStack* stack_of(const StackTrace& trace) {
    std::uint64_t hash = trace.depth;
    for (std::uint32_t i = 0; i < trace.depth; ++i) {
      hash = mix_bits(hash + address_of(trace.frames[i]));
    }
    const std::size_t bytes = trace.depth * sizeof(void*);
    SampledStack* stack = stacks_.find(hash, [&](const SampledStack& each) {
      return each.depth == trace.depth && memcmp(each.frames(), trace.frames, bytes) == 0;
    });
    if (stack != nullptr) return stack;
    void* memory = metadata_.allocate(sizeof(SampledStack) + bytes);
    if (memory == nullptr) return nullptr;
    stack = ::new (memory) SampledStack;
    stack->hash = hash;
    stack->depth = trace.depth;
    memcpy(stack->frames(), trace.frames, bytes);
    if (stacks_.insert(stack)) return stack;
    metadata_.release(memory, sizeof(SampledStack) + bytes);
    return nullptr;
  }

  /// Before a stack's live sum changes.
  void save_peak(SampledStack& stack) const {
    if (stack.saved_peak == peak_number_) return;
    stack.saved_peak = peak_number_;
    stack.saved = stack.live;
  }

  MetadataArena<Os>& metadata_;
  Mutex<Os> lock_;  // guards everything below
  HashTable<Sample, Os> samples_;
  HashTable<SampledStack, Os> stacks_;
  SampleSum live_;
  SampleSum peak_;
  std::uint64_t peak_number_ = 1;
};

}  // namespace carrel::core
