// LiveMap: address to the object that lives there. Open addressing, no memory per entry; the
// reader's inner loop.
#pragma once

#include <cstdint>
#include <vector>

namespace carrel::tools {

struct LiveObject {
  std::uint64_t address = 0;  // 0: no entry
  std::uint64_t object = 0;
  std::uint64_t size = 0;
  std::uint64_t born_ns = 0;
  std::uint32_t born_thread = 0;
  std::uint32_t stack = 0;
};

class LiveMap {
 public:
  LiveMap() : entries_(1024), mask_(1023) {}

  // Null when nothing lives there. Valid until the next insert or erase.
  LiveObject* find(std::uint64_t address) {
    for (std::size_t i = home(address);; i = (i + 1) & mask_) {
      if (entries_[i].address == address) return &entries_[i];
      if (entries_[i].address == 0) return nullptr;
    }
  }

  // `object.address` must be neither 0 nor in the map.
  void insert(const LiveObject& object) {
    if ((count_ + 1) * 2 > entries_.size()) grow();
    place(object);
    ++count_;
  }

  void erase(LiveObject* entry) {
    std::size_t hole = static_cast<std::size_t>(entry - entries_.data());
    // Entries behind the hole that probed past it move up.
    for (std::size_t i = (hole + 1) & mask_; entries_[i].address != 0; i = (i + 1) & mask_) {
      const std::size_t wanted = home(entries_[i].address);
      if (((i - wanted) & mask_) >= ((i - hole) & mask_)) {
        entries_[hole] = entries_[i];
        hole = i;
      }
    }
    entries_[hole] = LiveObject{};
    --count_;
  }

  void clear() {
    entries_.assign(1024, LiveObject{});
    mask_ = 1023;
    count_ = 0;
  }
  std::size_t size() const { return count_; }

  template <class Visit>
  void for_each(Visit visit) const {
    for (const LiveObject& object : entries_) {
      if (object.address != 0) visit(object);
    }
  }

 private:
  std::size_t home(std::uint64_t address) const {
    return ((address >> 3) * 0x9e3779b97f4a7c15 >> 20) & mask_;
  }
  void place(const LiveObject& object) {
    std::size_t i = home(object.address);
    while (entries_[i].address != 0) i = (i + 1) & mask_;
    entries_[i] = object;
  }
  void grow() {
    std::vector<LiveObject> old(entries_.size() * 2);
    old.swap(entries_);
    mask_ = entries_.size() - 1;
    for (const LiveObject& object : old) {
      if (object.address != 0) place(object);
    }
  }

  std::vector<LiveObject> entries_;
  std::size_t mask_;
  std::size_t count_ = 0;
};

}  // namespace carrel::tools
