// A hash table of records that carry their own links, with its buckets in metadata memory.
//
// Buckets lie in chunks of one metadata record each; their number doubles with the entries, up to a
// bound beyond which chains grow longer. Not thread-safe. `Node` has `Node* next` and
// `std::uint64_t hash`, whose bits are well mixed.
#pragma once

#include "mem/metadata_arena.h"

namespace carrel::core {

constexpr std::uint64_t mix_bits(std::uint64_t x) {
  x ^= x >> 32;
  x *= 0xD6E8FEB86659FD93;
  x ^= x >> 32;
  x *= 0xD6E8FEB86659FD93;
  return x ^ x >> 32;
}

template <class Node, OsLayer Os>
class HashTable {
 public:
  constexpr explicit HashTable(MetadataArena<Os>& metadata) : metadata_(metadata) {}
  HashTable(const HashTable&) = delete;
  HashTable& operator=(const HashTable&) = delete;

  std::size_t size() const { return size_; }

  /// The first node of this hash for which same(node) holds, or null.
  template <class Same>
  Node* find(std::uint64_t hash, Same same) const {
    if (chunk_count_ == 0) return nullptr;
    for (Node* node = *bucket(hash); node != nullptr; node = node->next) {
      if (node->hash == hash && same(*node)) return node;
    }
    return nullptr;
  }

  /// False when there is no memory for the first buckets.
  bool insert(Node* node) {
    if (size_ >= kChunkBuckets * chunk_count_) grow();
    if (chunk_count_ == 0) return false;
    Node** head = bucket(node->hash);
    node->next = *head;
    *head = node;
    ++size_;
    return true;
  }

  /// The node must be in the table.
  void remove(Node* node) {
    Node** link = bucket(node->hash);
    while (*link != node) link = &(*link)->next;
    *link = node->next;
    --size_;
  }

  template <class Visit>
  void for_each(Visit visit) const {
    for (std::size_t chunk = 0; chunk < chunk_count_; ++chunk) {
      for (std::size_t i = 0; i < kChunkBuckets; ++i) {
        for (Node* node = chunks_[chunk][i]; node != nullptr; node = node->next) visit(*node);
      }
    }
  }

 private:
  static constexpr std::size_t kChunkBytes = MetadataArena<Os>::kMaxRecordBytes;
  static constexpr std::size_t kChunkBuckets = kChunkBytes / sizeof(Node*);
  static constexpr std::size_t kMaxChunks = 256;

  Node** bucket(std::uint64_t hash) const {
    const std::size_t index = hash & (chunk_count_ * kChunkBuckets - 1);
    return &chunks_[index / kChunkBuckets][index % kChunkBuckets];
  }

  /// Doubles the buckets if that can be done.
  void grow() {
    const std::size_t old_count = chunk_count_;
    const std::size_t new_count = old_count == 0 ? 1 : 2 * old_count;
    if (new_count > kMaxChunks) return;
    for (std::size_t chunk = old_count; chunk < new_count; ++chunk) {
      chunks_[chunk] = static_cast<Node**>(metadata_.allocate(kChunkBytes));
      if (chunks_[chunk] != nullptr) continue;
      while (chunk-- > old_count) metadata_.release(chunks_[chunk], kChunkBytes);
      return;
    }
    chunk_count_ = new_count;
    for (std::size_t chunk = 0; chunk < old_count; ++chunk) {
      for (std::size_t i = 0; i < kChunkBuckets; ++i) {
        Node* node = chunks_[chunk][i];
        chunks_[chunk][i] = nullptr;
        while (node != nullptr) {
          Node* next = node->next;
          Node** head = bucket(node->hash);
          node->next = *head;
          *head = node;
          node = next;
        }
      }
    }
  }

  MetadataArena<Os>& metadata_;
  Node** chunks_[kMaxChunks] = {};
  std::size_t chunk_count_ = 0;
  std::size_t size_ = 0;
};

}  // namespace carrel::core
