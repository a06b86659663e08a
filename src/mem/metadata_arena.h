// Memory for carrel's own records: slabs' descriptions, bitmaps, thread caches.
//
// It comes from mappings of its own, so that nothing of carrel's lies where a program's
// blocks are. Records are handed out in units of a cache line, zeroed, and recycled by
// size; the mappings are never given back, so a stale pointer to a record always points
// to some record. Thread-safe; rank 5 (see os/mutex.h), a leaf.
#pragma once

#include <cstring>

#include "base/bits.h"
#include "mem/record_pages.h"
#include "os/mutex.h"
#include "os/os.h"

namespace carrel::core {

template <OsLayer Os>
class MetadataArena {
 public:
  /// `bytes` zeroed bytes, cache-line aligned, at most kMaxRecordBytes; null when the
  /// system refuses memory.
  void* allocate(std::size_t bytes) {
    const std::size_t lines = lines_for(bytes);
    LockGuard guard(lock_);
    FreeRecord*& free_list = free_[lines - 1];
    if (free_list != nullptr) {
      FreeRecord* record = free_list;
      free_list = record->next;
      memset(record, 0, lines * kLineBytes);
      return record;
    }
    return carve(lines * kLineBytes);
  }

  /// Takes back what allocate(bytes) returned.
  void release(void* record, std::size_t bytes) {
    LockGuard guard(lock_);
    auto* free_record = static_cast<FreeRecord*>(record);
    FreeRecord*& free_list = free_[lines_for(bytes) - 1];
    free_record->next = free_list;
    free_list = free_record;
  }

  /// Bytes mapped for records so far.
  std::size_t mapped_bytes() const { return mapped_bytes_.load(std::memory_order_relaxed); }

  /// Calls visit(start, bytes) for each mapping. They only become more, so that no lock is held
  /// meanwhile.
  template <class Visit>
  void for_each_chunk(Visit visit) const {
    // Acquire pairs with the release in map_chunk(): the chunk's own line is seen.
    for (const Chunk* chunk = chunks_.load(std::memory_order_acquire); chunk != nullptr;
         chunk = chunk->next) {
      visit(reinterpret_cast<const char*>(chunk), chunk->bytes);
    }
  }

  void lock() { lock_.lock(); }
  void unlock() { lock_.unlock(); }
  void reset_after_fork() { lock_.reset_after_fork(); }

  static constexpr std::size_t kLineBytes = 64;
  static constexpr std::size_t kMaxRecordBytes = 8 * kKiB;

 private:
  friend struct HeapLayoutTable;  // says where these are: api/heap_layout.cc
  struct FreeRecord {
    FreeRecord* next;
  };
  /// The first line of each mapping.
  struct Chunk {
    const Chunk* next;
    std::size_t bytes;
  };
  static constexpr std::size_t kFirstChunkBytes = 128 * kKiB;
  static constexpr std::size_t kMaxChunkBytes = 4 * kMiB;

  static std::size_t lines_for(std::size_t bytes) { return (bytes + kLineBytes - 1) / kLineBytes; }

  void* carve(std::size_t bytes) {
    if (static_cast<std::size_t>(end_ - next_) < bytes && !map_chunk()) return nullptr;
    void* record = next_;
    next_ += bytes;
    return record;
  }

  /// The rest of the last chunk is left unused: untouched, it occupies no memory.
  bool map_chunk() {
    std::size_t bytes = next_chunk_bytes_;
    void* chunk = map_record_pages<Os>(bytes);
    if (chunk == nullptr && bytes > kFirstChunkBytes) {
      bytes = kFirstChunkBytes;
      chunk = map_record_pages<Os>(bytes);
    }
    if (chunk == nullptr) return false;
    auto* header = static_cast<Chunk*>(chunk);
    *header = {.next = chunks_.load(std::memory_order_relaxed), .bytes = bytes};
    chunks_.store(header, std::memory_order_release);
    next_ = static_cast<char*>(chunk) + kLineBytes;
    end_ = static_cast<char*>(chunk) + bytes;
    mapped_bytes_.fetch_add(bytes, std::memory_order_relaxed);  // a statistic, orders nothing
    if (next_chunk_bytes_ < kMaxChunkBytes) next_chunk_bytes_ *= 2;
    return true;
  }

  Mutex<Os> lock_;  // guards everything below
  char* next_ = nullptr;
  char* end_ = nullptr;
  std::size_t next_chunk_bytes_ = kFirstChunkBytes;
  std::atomic<std::size_t> mapped_bytes_{0};
  std::atomic<const Chunk*> chunks_{nullptr};
  FreeRecord* free_[kMaxRecordBytes / kLineBytes] = {};
};

}  // namespace carrel::core
