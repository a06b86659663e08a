// The simulated system's books: which address ranges the code under test holds, and in
// what state. Not thread-safe: fake_os.cc guards it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>

namespace carrel::core {

enum class PageState { kReserved, kFenced, kUsable };

/// Which address ranges the code under test holds, and in what state.
class Ledger {
 public:
  void set(std::uintptr_t start, std::size_t bytes, PageState state) {
    erase(start, bytes);
    ranges_[start] = {start + bytes, state};
    if (state == PageState::kUsable) usable_bytes_ += bytes;
    bytes_ += bytes;
    join(start);
    join(start + bytes);
  }

  void erase(std::uintptr_t start, std::size_t bytes) {
    split(start);
    split(start + bytes);
    auto at = ranges_.lower_bound(start);
    while (at != ranges_.end() && at->first < start + bytes) {
      const std::size_t size = at->second.end - at->first;
      bytes_ -= size;
      if (at->second.state == PageState::kUsable) usable_bytes_ -= size;
      at = ranges_.erase(at);
    }
  }

  /// Bytes of a range that are held in this state.
  std::size_t bytes_in(std::uintptr_t start, std::size_t bytes, PageState state) const {
    std::size_t total = 0;
    auto at = ranges_.upper_bound(start);
    if (at != ranges_.begin()) --at;
    for (; at != ranges_.end() && at->first < start + bytes; ++at) {
      const std::uintptr_t from = at->first < start ? start : at->first;
      const std::uintptr_t to = at->second.end < start + bytes ? at->second.end : start + bytes;
      if (from < to && at->second.state == state) total += to - from;
    }
    return total;
  }

  template <class Visit>
  void for_each(Visit visit) const {
    for (const auto& [start, range] : ranges_) visit(start, range.end, range.state);
  }

  std::size_t bytes() const { return bytes_; }
  std::size_t usable_bytes() const { return usable_bytes_; }

 private:
  struct Range {
    std::uintptr_t end;
    PageState state;
  };

  void split(std::uintptr_t at) {
    auto range = ranges_.lower_bound(at);
    if (range == ranges_.begin()) return;
    --range;
    if (range->second.end <= at) return;
    ranges_[at] = range->second;
    range->second.end = at;
  }

  /// Makes one of the ranges that meet here, if both are in the same state.
  void join(std::uintptr_t at) {
    auto right = ranges_.find(at);
    if (right == ranges_.end() || right == ranges_.begin()) return;
    auto left = std::prev(right);
    if (left->second.end != at || left->second.state != right->second.state) return;
    left->second.end = right->second.end;
    ranges_.erase(right);
  }

  std::map<std::uintptr_t, Range> ranges_;
  std::size_t bytes_ = 0;
  std::size_t usable_bytes_ = 0;
};

}  // namespace carrel::core
