// All thread caches: makes them, takes them back, deals threads to shards.
//
// Thread-safe; rank 2.
#pragma once

#include <new>

#include "base/intrusive_list.h"
#include "cache/thread_cache.h"

namespace carrel::core {

template <OsLayer Os>
class ThreadRegistry {
 public:
  constexpr explicit ThreadRegistry(MetadataArena<Os>& metadata) : metadata_(metadata) {}
  ThreadRegistry(const ThreadRegistry&) = delete;
  ThreadRegistry& operator=(const ThreadRegistry&) = delete;

  /// A cache for a new thread, dealt to the next of `shard_count` shards; null when
  /// metadata is exhausted.
  ThreadCache* attach(std::uint32_t shard_count) {
    void* memory = metadata_.allocate(sizeof(ThreadCache));
    if (memory == nullptr) return nullptr;
    auto* cache = ::new (memory) ThreadCache;
    cache->attached = true;
    LockGuard guard(lock_);
    cache->shard = next_shard_++ % shard_count;
    cache->own_group_mask = 0xFFu & ~group_bit(cache->shard);
    caches_.push_front(cache);
    count_ = count_ + 1;
    return cache;
  }

  /// Takes back a cache that has been flushed.
  void detach(ThreadCache* cache) {
    {
      LockGuard guard(lock_);
      caches_.remove(cache);
      count_ = count_ - 1;
    }
    metadata_.release(cache, sizeof(ThreadCache));
  }

  /// Calls visit(ThreadCache&) for each, one caller at a time; the caches' owners go on using them.
  template <class Visit>
  void for_each(Visit visit) {
    LockGuard guard(lock_);
    for (ThreadCache* cache = caches_.front(); cache != nullptr; cache = cache->next) {
      visit(*cache);
    }
  }

  /// Calls act() while no other thread is in for_each().
  template <class Act>
  void alone(Act act) {
    LockGuard guard(lock_);
    act();
  }

  std::size_t count() const { return count_; }

  void lock() { lock_.lock(); }
  void unlock() { lock_.unlock(); }
  void reset_after_fork() { lock_.reset_after_fork(); }

 private:
  friend struct HeapLayoutTable;  // says where these are: api/heap_layout.cc
  MetadataArena<Os>& metadata_;
  Mutex<Os> lock_;  // guards everything below
  IntrusiveList<ThreadCache> caches_;
  Relaxed<std::size_t> count_ = 0;
  std::uint32_t next_shard_ = 0;
};

}  // namespace carrel::core
