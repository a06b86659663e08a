// The shards: a few sets of slab bins, about one per CPU, to which threads are dealt.
//
// Thread-safe after initialize(); the bins have their own locks.
#pragma once

#include "base/report.h"
#include "slab/slab_bin.h"

namespace carrel::core {

template <OsLayer Os>
class Shards {
 public:
  constexpr explicit Shards(SlabContext<Os>& context) : context_(context) {}
  Shards(const Shards&) = delete;
  Shards& operator=(const Shards&) = delete;

  /// Chooses the number of shards; false when memory for them is refused.
  bool initialize(std::uint32_t count) {
    for (; count >= 1; count /= 2) {  // fewer where memory is short
      void* memory = map_record_pages<Os>(align_up(count * sizeof(Row), Os::page_bytes()));
      if (memory == nullptr) continue;
      rows_ = static_cast<Row*>(memory);  // all zero, which is what a new Row is
      count_ = count;
      prepare(0);
      return true;
    }
    return false;
  }

  /// Makes a shard usable, before its first thread. Until then its memory stays untouched.
  /// Threads may do it at once: all write the same.
  void prepare(std::uint32_t shard) {
    if (rows_[shard].prepared.load(std::memory_order_relaxed)) return;
    for (std::uint8_t id = 1; id <= kClassCount; ++id) bin(shard, id).initialize(id, shard);
    rows_[shard].prepared.store(true, std::memory_order_relaxed);
  }

  std::uint32_t count() const { return count_; }
  SlabBin<Os>& bin(std::uint32_t shard, std::uint8_t size_class) {
    return rows_[shard].bins[size_class - 1];
  }

  std::uint32_t take(std::uint32_t shard, std::uint8_t size_class, void** end, std::uint32_t want) {
    return bin(shard, size_class).take(context_, end, want);
  }

  /// Takes back blocks of one class, each to the shard it came from. Reorders `blocks`.
  /// `from` is the giving thread's shard.
  void give(std::uint8_t size_class, void** blocks, std::uint32_t count, std::uint32_t from) {
    prefetch_slabs(blocks, count);
    while (count > 0) {
      const Span* slab = context_.map.span_of(blocks[0]);
      // A live block's slab cannot change; one that has is a block freed twice.
      if (CARREL_UNLIKELY(slab->state != SpanState::kSlab || slab->size_class != size_class ||
                          slab->shard >= count_)) {
        Report<Os>::double_free(blocks[0]);
      }
      const std::uint32_t left = bin(slab->shard, size_class).give(context_, blocks, count, from);
      if (CARREL_UNLIKELY(left == count)) Report<Os>::double_free(blocks[0]);
      count = left;
    }
  }

  /// Calls visit(bin) for every bin in the order in which their locks are taken.
  template <class Visit>
  void for_each_bin(Visit visit) {
    for (std::uint32_t shard = 0; shard < count_; ++shard) {
      for (std::uint8_t id = 1; id <= kClassCount; ++id) visit(bin(shard, id), id);
    }
  }

  /// Calls visit(start, bytes) for the bins' memory.
  template <class Visit>
  void for_each_table(Visit visit) const {
    if (rows_ == nullptr) return;
    visit(reinterpret_cast<const char*>(rows_), align_up(count_ * sizeof(Row), Os::page_bytes()));
  }

  SlabContext<Os>& context() { return context_; }

 private:
  friend struct HeapLayoutTable;  // says where these are: api/heap_layout.cc
  /// Has the descriptions of scattered blocks' slabs on their way before the lock is taken.
  void prefetch_slabs(void* const* blocks, std::uint32_t count) const {
    const std::size_t spread = address_of(blocks[0]) ^ address_of(blocks[count - 1]);
    if (spread < kGranuleBytes) return;  // most likely they lie side by side
    for (std::uint32_t i = 0; i < count; ++i) {
      __builtin_prefetch(context_.map.span_of(blocks[i]), 1);
    }
  }

  struct Row {
    SlabBin<Os> bins[kClassCount];
    std::atomic<bool> prepared;
  };
  SlabContext<Os>& context_;
  Row* rows_ = nullptr;
  std::uint32_t count_ = 0;
};

}  // namespace carrel::core
