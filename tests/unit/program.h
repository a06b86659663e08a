// A program that uses a heap: random requests of every kind from several threads, with a
// model that knows every live block, its size and its contents.
//
// It goes on when a request fails; whether one may fail is for the test to say (allow()).
#pragma once

#include <random>

#include "test_heap.h"

namespace carrel::core {

class Program {
 public:
  Program(FakeHeap& heap, unsigned seed) : heap_(heap), random_(seed) {}

  /// Whether a request may be refused now; asked after one was.
  void allow(std::function<bool()> may_fail) { may_fail_ = std::move(may_fail); }

  void run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFatalFailure(); ++i) {
      SCOPED_TRACE("program step " + std::to_string(step_));
      ++step_;
      threads_[current_].run([this] { step(); });
    }
  }

  /// Checks every block.
  void check_all() {
    for (const Block& block : live_) check(block);
  }

  /// Frees everything and ends all threads.
  void finish() {
    while (!live_.empty()) {
      threads_[step_++ % kThreads].run([this] { free_one(live_.size() - 1); });
    }
    for (VirtualThread& thread : threads_) thread.exit(heap_);
  }

  std::size_t live_blocks() const { return live_.size(); }
  std::uint64_t refusals() const { return refusals_; }

 private:
  static constexpr std::size_t kThreads = 3;

  struct Block {
    char* start;
    std::size_t size;
    std::size_t alignment;
    std::uint64_t stamp;
  };

  void step() {
    const unsigned what = static_cast<unsigned>(random_() % 100);
    if (what < 35) {
      const std::size_t size = random_size();
      take(heap_malloc(size), size, kSlotAlignment);
    } else if (what < 45) {
      const std::size_t size = random_size();
      auto* start = static_cast<char*>(heap_.zero_allocate(size));
      if (start != nullptr) expect_zero(start, size);
      take(start, size, kSlotAlignment);
    } else if (what < 52) {
      const std::size_t alignment = std::size_t{16} << random_() % 18;  // to 2 MiB
      const std::size_t size = random_size();
      take(heap_.aligned_allocate(alignment, size), size, alignment);
    } else if (what < 64) {
      if (!live_.empty()) resize_one(random_() % live_.size());
    } else if (what < 92) {
      if (!live_.empty()) free_one(random_() % live_.size());
      if (live_.size() > 150) free_one(random_() % live_.size());
    } else if (what < 95) {
      current_ = random_() % kThreads;
    } else if (what < 96) {
      FakeOs::advance_ms(random_() % 900);
    } else if (what < 97) {
      FakeOs::run_thread();
    } else if (what < 98) {
      heap_.purge();
    } else if (what < 99) {
      const std::size_t other = (current_ + 1) % kThreads;
      threads_[other].exit(heap_);
      threads_[other] = VirtualThread();
    } else if (!live_.empty()) {
      check(live_[random_() % live_.size()]);
    }
  }

  std::size_t random_size() {
    switch (random_() % 10) {
      case 0:
        return random_() % 3;  // zero among them
      case 1:
        return random_() % (32 * kKiB + 2);
      case 2:
        return 1 + random_() % (200 * kKiB);
      case 3:
        if (random_() % 8 == 0) return 1 + random_() % (4 * kMiB);
        return 1 + random_() % (600 * kKiB);
      default:
        return 1 + random_() % 1000;
    }
  }

  void refuse() {
    ++refusals_;
    EXPECT_TRUE(may_fail_ && may_fail_()) << "null although the system refused nothing";
  }

  void take(void* pointer, std::size_t size, std::size_t alignment) {
    auto* start = static_cast<char*>(pointer);
    if (start == nullptr) return refuse();
    EXPECT_EQ(address_of(start) % alignment, 0u);
    EXPECT_GE(heap_.usable_size(start), size);
    live_.push_back({start, size, alignment, random_()});
    fill(live_.back());
  }

  void free_one(std::size_t index) {
    check(live_[index]);
    heap_.free(live_[index].start);
    live_[index] = live_.back();
    live_.pop_back();
  }

  void resize_one(std::size_t index) {
    Block& block = live_[index];
    check(block);
    const std::size_t size =
        random_() % 3 == 0 ? random_size() : block.size / 2 * (random_() % 5) + 1;
    auto* start = static_cast<char*>(heap_.reallocate(block.start, size, block.alignment));
    if (start == nullptr) {
      refuse();
      check(block);  // left as it was
      return;
    }
    EXPECT_EQ(address_of(start) % block.alignment, 0u);
    EXPECT_GE(heap_.usable_size(start), size);
    Block kept = block;
    kept.start = start;
    check(kept, size < block.size ? size : block.size);
    block.start = start;
    block.size = size;
    fill(block);
  }

  // Contents: each word tells the block and its own offset; of large blocks one word a
  // page, and the last one.
  template <class Visit>
  static void for_each_word(const Block& block, std::size_t size, Visit visit) {
    const std::size_t step = block.size > 64 * kKiB ? 4096 : 8;
    for (std::size_t at = 0; at + 8 <= size; at += step) visit(at);
    if (size == block.size && size >= 8) visit((size - 8) & ~std::size_t{7});
  }
  static void fill(const Block& block) {
    for_each_word(block, block.size, [&](std::size_t at) {
      const std::uint64_t word = block.stamp + at;
      memcpy(block.start + at, &word, 8);
    });
    for (std::size_t at = block.size & ~std::size_t{7}; at < block.size; ++at) {
      block.start[at] = static_cast<char>(block.stamp + at);
    }
  }
  /// The first `size` bytes, all by default.
  static void check(const Block& block, std::size_t size = SIZE_MAX) {
    if (size > block.size) size = block.size;
    for_each_word(block, size, [&](std::size_t at) {
      const std::uint64_t word = block.stamp + at;
      ASSERT_EQ(memcmp(block.start + at, &word, 8), 0)
          << "a block of " << block.size << " bytes lost its contents at " << at;
    });
    if (size != block.size) return;
    for (std::size_t at = block.size & ~std::size_t{7}; at < block.size; ++at) {
      ASSERT_EQ(block.start[at], static_cast<char>(block.stamp + at)) << at;
    }
  }
  static void expect_zero(const char* start, std::size_t size) {
    if (size == 0) return;
    ASSERT_EQ(start[0], 0);
    ASSERT_EQ(memcmp(start, start + 1, size - 1), 0) << size << " bytes";
  }

  FakeHeap& heap_;
  std::mt19937_64 random_;
  std::function<bool()> may_fail_;
  VirtualThread threads_[kThreads];
  std::size_t current_ = 0;
  std::size_t step_ = 0;
  std::uint64_t refusals_ = 0;
  std::vector<Block> live_;
};

}  // namespace carrel::core
