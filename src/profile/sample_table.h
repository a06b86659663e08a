// What has been sampled: each live block that is, and each distinct stack with its sums.
//
// Basic design: two hash tables in metadata memory, of live samples by address and of stacks by
// their frames. A stack's sums are kept in fixed point, already scaled by what each sample stands
// for, so that what an allocation adds a free takes away exactly. Stacks are never dropped.
//
// The state at the peak costs no second pass: a stack's sums are saved the first time that they
// change after a peak, and are still those of the peak otherwise.
//
// What was freed is summed up per stack by how long it lived, in decades. A sample may be there for
// others than the profile (profile/sample_hooks.h): such a one has no stack.
//
// Thread-safe; the lock is of rank 0 (os/mutex.h): only metadata's is taken below it.
#pragma once

#include <cstdint>
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

/// Freed blocks by how long they lived: up to a microsecond, ten of them, and so on.
struct Lifetimes {
  static constexpr std::size_t kBuckets = 11;
  struct Bucket {
    SampleSum freed;
    double total_us = 0;  // of all the blocks' lifetimes
  };
  Bucket buckets[kBuckets];

  /// False if nothing was freed, or only before a reset.
  bool any() const {
    std::uint64_t blocks = 0;
    for (const Bucket& bucket : buckets) blocks += bucket.freed.blocks;
    return blocks != 0;
  }

  static constexpr std::size_t bucket_of(std::uint64_t lifetime_ns) {
    std::size_t bucket = 0;
    while (bucket < kBuckets - 1 && lifetime_ns > bound_ns(bucket)) ++bucket;
    return bucket;
  }
  /// No lifetime of the bucket is longer, but of the last, which has no bound.
  static constexpr std::uint64_t bound_ns(std::size_t bucket) {
    std::uint64_t bound = 1000;
    for (; bucket > 0; --bucket) bound *= 10;
    return bound;
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
  Lifetimes* lifetimes = nullptr;  // null until the first of its blocks is freed
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
  std::size_t samples = 0;  // live ones of the profile
  std::size_t stacks = 0;
};

/// A block that was sampled, as far as others than the profile ask.
struct SampledBlock {
  const void* block = nullptr;
  std::uint64_t size = 0;
  std::uint64_t mean_bytes = 0;  // the distance between samples that it was found with
  std::uint64_t time_ns = 0;     // when
  std::uint8_t hooks = 0;        // a bit for each that is to hear of its free
};

template <OsLayer Os>
class SampleTable {
 public:
  constexpr explicit SampleTable(MetadataArena<Os>& metadata)
      : metadata_(metadata), samples_(metadata), stacks_(metadata) {}

  /// Takes a block in that is not in yet; with a trace, into the profile, where it stands for
  /// `weight` blocks. False when memory is exhausted.
  bool add(const SampledBlock& sampled, double weight, const StackTrace* trace) {
    LockGuard guard(lock_);
    return add_locked(sampled, weight, trace);
  }

  /// False for a block that is not in.
  bool remove(const void* block, std::uint64_t now_ns) {
    LockGuard guard(lock_);
    SampledBlock sampled;
    return remove_locked(block, now_ns, sampled);
  }

  /// Forgets what was allocated so far, and the peak; live samples stay.
  void reset() {
    LockGuard guard(lock_);
    stacks_.for_each([](SampledStack& stack) {
      stack.allocated = {};
      if (stack.lifetimes != nullptr) *stack.lifetimes = {};
    });
    peak_ = live_;
    ++peak_number_;
  }

  SampleTotals totals() {
    LockGuard guard(lock_);
    return totals_locked();
  }

  // For who holds the lock.

  bool add_locked(const SampledBlock& sampled, double weight, const StackTrace* trace) {
    SampledStack* stack = trace == nullptr ? nullptr : stack_of(*trace);
    if (trace != nullptr && stack == nullptr) return false;
    auto* sample = static_cast<Sample*>(metadata_.allocate(sizeof(Sample)));
    if (sample == nullptr) return false;
    *sample = {.next = nullptr,
               .hash = mix_bits(address_of(sampled.block)),
               .block = sampled.block,
               .stack = stack,
               .weight = weight,
               .mean_bytes = sampled.mean_bytes,
               .time_ns = sampled.time_ns,
               .size = sampled.size,
               .hooks = sampled.hooks};
    if (!samples_.insert(sample)) {
      metadata_.release(sample, sizeof(Sample));
      return false;
    }
    if (stack == nullptr) return true;
    const SampleSum sum = SampleSum::of(sampled.size, weight);
    save_peak(*stack);
    stack->live.add(sum);
    stack->allocated.add(sum);
    live_.add(sum);
    ++profiled_;
    if (live_.bytes > peak_.bytes) {
      peak_ = live_;
      ++peak_number_;
    }
    return true;
  }

  /// False for a block that is not in; else what there was.
  bool remove_locked(const void* block, std::uint64_t now_ns, SampledBlock& sampled) {
    Sample* sample = samples_.find(mix_bits(address_of(block)),
                                   [block](const Sample& each) { return each.block == block; });
    if (sample == nullptr) return false;
    samples_.remove(sample);
    if (sample->stack != nullptr) take_out(*sample, now_ns);
    sampled = {.block = block,
               .size = sample->size,
               .mean_bytes = sample->mean_bytes,
               .time_ns = sample->time_ns,
               .hooks = static_cast<std::uint8_t>(sample->hooks)};
    metadata_.release(sample, sizeof(Sample));
    return true;
  }

  /// Nobody is to hear of frees by this bit any more.
  void clear_hook_locked(std::uint8_t bit) {
    samples_.for_each([bit](Sample& sample) { sample.hooks &= ~std::uint64_t{bit}; });
  }

  SampleTotals totals_locked() const {
    return {.live = live_, .peak = peak_, .samples = profiled_, .stacks = stacks_.size()};
  }
  /// Calls visit(const SampledStack&, const StackSums&) for each stack that has anything to tell.
  template <class Visit>
  void for_each_stack_locked(Visit visit) const {
    stacks_.for_each([&](const SampledStack& stack) {
      const bool saved = stack.saved_peak == peak_number_;
      const StackSums sums = {.allocated = stack.allocated,
                              .live = stack.live,
                              .at_peak = saved ? stack.saved : stack.live};
      if (sums.allocated.blocks + sums.live.blocks + sums.at_peak.blocks != 0 ||
          (stack.lifetimes != nullptr && stack.lifetimes->any())) {
        visit(stack, sums);
      }
    });
  }

  void lock() { lock_.lock(); }
  bool try_lock() { return lock_.try_lock(); }
  void unlock() { lock_.unlock(); }
  void reset_after_fork() { lock_.reset_after_fork(); }

 private:
  /// One cache line.
  struct Sample {
    Sample* next;
    std::uint64_t hash;
    const void* block;
    SampledStack* stack;  // null: not for the profile
    double weight;
    std::uint64_t mean_bytes;
    std::uint64_t time_ns;
    std::uint64_t size : 56;
    std::uint64_t hooks : 8;
  };
  static_assert(sizeof(Sample) <= 64);

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

  /// Of the profile's sums. Without memory for lifetimes this one goes uncounted there.
  void take_out(const Sample& sample, std::uint64_t now_ns) {
    SampledStack& stack = *sample.stack;
    const SampleSum sum = SampleSum::of(sample.size, sample.weight);
    save_peak(stack);
    stack.live.subtract(sum);
    live_.subtract(sum);
    --profiled_;
    if (stack.lifetimes == nullptr) {
      void* memory = metadata_.allocate(sizeof(Lifetimes));
      if (memory == nullptr) return;
      stack.lifetimes = ::new (memory) Lifetimes;
    }
    const std::uint64_t lifetime_ns = now_ns > sample.time_ns ? now_ns - sample.time_ns : 0;
    Lifetimes::Bucket& bucket = stack.lifetimes->buckets[Lifetimes::bucket_of(lifetime_ns)];
    bucket.freed.add(sum);
    bucket.total_us += sample.weight * static_cast<double>(lifetime_ns) / 1000;
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
  std::size_t profiled_ = 0;  // samples that have a stack
  SampleSum live_;
  SampleSum peak_;
  std::uint64_t peak_number_ = 1;
};

}  // namespace carrel::core
