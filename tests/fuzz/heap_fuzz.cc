// Differential fuzzing of the heap: bytes become operations on carrel and on a model that knows
// every live block, its size, alignment and contents.
//
// Found are blocks that overlap or lie askew, contents that change, memory that does not read as
// zero, usable sizes that are too small, sums that are wrong at the end, and whatever carrel itself
// reports. Three threads take turns, each with its own cache, and hand blocks to each other; at
// times two run at once. Linked with a library that replaces no malloc; the fuzzer has its own.
#include <carrel/carrel.h>
#include <preset.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "../stress/shadow.h"

namespace {

using stress::Shadow;

constexpr std::size_t kMostLiveBytes = std::size_t{12} << 20;
constexpr std::size_t kMostBlocks = 400;
constexpr int kThreads = 3;
constexpr std::size_t kArenas = 2;
/// In a hardened build freed blocks that wait in quarantine count as live.
constexpr bool kExactSums = carrel::core::kPreset.hardening.quarantine_bytes == 0;

[[noreturn]] void wrong(const char* text) {
  std::fprintf(stderr, "heap_fuzz: %s\n", text);
  std::abort();
}
void expect(bool holds, const char* text) {
  if (!holds) wrong(text);
}

/// A thread that does one thing at a time, while the one that asked waits.
class Worker {
 public:
  Worker() : thread_([this] { work(); }) {}
  ~Worker() {
    run(nullptr);
    thread_.join();
  }
  void start(const std::function<void()>* task) {
    const std::lock_guard guard(lock_);
    task_ = task;
    asked_ = true;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock guard(lock_);
    changed_.wait(guard, [this] { return !asked_; });
  }
  void run(const std::function<void()>* task) {
    start(task);
    wait();
  }

 private:
  void work() {
    for (bool going = true; going;) {
      std::unique_lock guard(lock_);
      changed_.wait(guard, [this] { return asked_; });
      guard.unlock();
      going = task_ != nullptr;
      if (going) (*task_)();
      guard.lock();
      asked_ = false;
      changed_.notify_all();
    }
  }

  std::mutex lock_;
  std::condition_variable changed_;
  const std::function<void()>* task_ = nullptr;
  bool asked_ = false;
  std::thread thread_;
};

struct Bytes {
  const std::uint8_t* data;
  std::size_t left;
  unsigned next() {
    if (left == 0) return 0;
    --left;
    return *data++;
  }
};

struct Block : Shadow {
  int arena = -1;
};

class Machine {
 public:
  explicit Machine(Bytes bytes) : bytes_(bytes) {}

  void run() {
    while (bytes_.left != 0) {
      // Some operations for one thread, so that its cache matters.
      const unsigned head = bytes_.next();
      Worker*& worker = workers()[head % kThreads];
      if (worker == nullptr) worker = new Worker;
      const unsigned count = 1 + (head >> 3);
      if (head % 4 == 3 && (head & 0x40) != 0) {
        run_two();
        continue;
      }
      const std::function<void()> task = [this, count] {
        for (unsigned i = 0; i < count && bytes_.left != 0; ++i) step();
      };
      worker->run(&task);
      if ((head & 0x44) == 0x44) {  // this thread ends, another will take its place
        delete worker;
        worker = nullptr;
      }
    }
    finish();
  }

 private:
  static Worker** workers() {
    static Worker* all[kThreads];
    return all;
  }

  std::size_t size() {
    const unsigned kind = bytes_.next();
    const unsigned low = bytes_.next();
    switch (kind % 8) {
      case 0:
        return low;
      case 1:
        return low * 16 + (kind >> 5);
      case 2:
        return low << (kind >> 5);
      case 3:
        return (std::size_t{low} << 8) + kind;
      case 4:
        return (32 << 10) - 16 + low % 32;  // about the largest slot
      case 5:
        return (std::size_t{low % 24} << 16) + (kind >> 4) - 8;  // about granules
      case 6:
        return std::size_t{low} * 4096 / (1 + (kind >> 5));
      default:
        return low % 64;
    }
  }

  void step() {
    const unsigned what = bytes_.next();
    switch (what % 16) {
      case 0:
      case 1:
      case 2: {
        const std::size_t bytes = size();
        add(carrel_malloc(bytes), bytes, 16);
        break;
      }
      case 3: {
        const std::size_t bytes = size();
        void* block = carrel_calloc(bytes / 3, 3);
        expect_zero(block, bytes / 3 * 3);
        add(block, bytes / 3 * 3, 16);
        break;
      }
      case 4: {
        const std::size_t alignment = std::size_t{1} << (what >> 4) % 16 << (bytes_.next() % 6);
        const std::size_t bytes = size();
        add(carrel_aligned_alloc(alignment, bytes), bytes, alignment);
        break;
      }
      case 5:
      case 6:
        resize();
        break;
      case 7:
      case 8:
      case 9:
      case 10:
        if (!live_.empty()) drop(bytes_.next() % live_.size(), what >> 4);
        break;
      case 11:
        if (!live_.empty()) {
          check(live_[bytes_.next() % live_.size()]);
        } else if (what >> 4 == 7) {
          carrel_purge();
        }
        break;
      case 12:
        in_arena(what >> 4);
        break;
      case 13:
        set_options(what >> 4);
        break;
      case 14:
        drop_many(what >> 4);
        break;
      default:
        if (what >> 4 == 0) fork_once();
        if (what >> 4 == 1) carrel_purge();
        if (what >> 4 == 2) check_all();
        break;
    }
  }

  void add(void* pointer, std::size_t bytes, std::size_t alignment, int arena = -1) {
    if (pointer == nullptr) {
      expect(limited_ || bytes > (std::size_t{1} << 40), "a request failed without a limit");
      return;
    }
    auto* start = static_cast<unsigned char*>(pointer);
    const auto address = reinterpret_cast<std::uintptr_t>(start);
    expect(address % alignment == 0, "a block is not aligned as asked");
    expect(carrel_usable_size(start) >= bytes, "a block is too small");
    const std::uintptr_t end = address + (bytes == 0 ? 1 : bytes);
    const auto after = by_address_.lower_bound(address);
    expect(after == by_address_.end() || after->first >= end, "a block overlaps the next one");
    if (after != by_address_.begin()) {
      expect(std::prev(after)->second <= address, "a block overlaps the one before");
    }
    by_address_[address] = end;
    Block block;
    block.bytes = start;
    block.size = bytes;
    block.alignment = alignment;
    block.tag = ++tag_;
    block.arena = arena;
    stress::fill(block);
    live_.push_back(block);
    live_bytes_ += bytes;
    while (live_bytes_ > kMostLiveBytes || live_.size() > kMostBlocks) drop(0, 0);
  }

  static void check(const Block& block) {
    expect(stress::first_damage(block, block.bytes, block.size) == block.size,
           "a block's contents changed");
  }
  void check_all() const {
    for (const Block& block : live_) check(block);
  }
  static void expect_zero(const void* block, std::size_t bytes) {
    const auto* at = static_cast<const unsigned char*>(block);
    if (at == nullptr || bytes == 0) return;
    expect(at[0] == 0 && std::memcmp(at, at + 1, bytes - 1) == 0, "memory does not read as zero");
  }

  Block forget(std::size_t index) {
    const Block block = live_[index];
    by_address_.erase(reinterpret_cast<std::uintptr_t>(block.bytes));
    live_bytes_ -= block.size;
    live_[index] = live_.back();
    live_.pop_back();
    return block;
  }

  static void release(const Block& block, unsigned how) {
    check(block);
    if (block.arena >= 0 || how % 4 == 0) {
      carrel_free(block.bytes);
    } else if (block.alignment > 16) {
      carrel_free_sized_aligned(block.bytes, block.size, block.alignment);
    } else {
      carrel_free_sized(block.bytes, block.size);
    }
  }
  void drop(std::size_t index, unsigned how) { release(forget(index), how); }
  void drop_many(unsigned how) {
    const std::size_t count = live_.size() * (how % 4) / 4;
    for (std::size_t i = 0; i < count; ++i) drop(how < 8 ? live_.size() - 1 : 0, how);
  }

  void resize() {
    if (live_.empty()) return;
    const std::size_t index = bytes_.next() % live_.size();
    Block block = live_[index];
    check(block);
    const unsigned how = bytes_.next();
    std::size_t bytes = how % 4 == 0 ? size() : block.size * (how >> 2) / 32;
    if (bytes == 0) bytes = 1;
    if (bytes > kMostLiveBytes / 4) return;
    void* moved = block.alignment > 16 ? carrel_realloc_sized_aligned(block.bytes, block.size,
                                                                      bytes, block.alignment)
                                       : carrel_realloc(block.bytes, bytes);
    if (moved == nullptr) {
      expect(limited_, "a resize failed without a limit");
      check(block);
      return;
    }
    const auto* kept = static_cast<const unsigned char*>(moved);
    const std::size_t common = bytes < block.size ? bytes : block.size;
    expect(stress::first_damage(block, kept, common) == common, "a resize lost contents");
    const int arena = block.arena;
    const std::size_t alignment = block.alignment;
    forget(index);
    add(moved, bytes, alignment, arena);
  }

  void in_arena(unsigned how) {
    const std::size_t which = how % kArenas;
    carrel_arena*& arena = arenas_[which];
    if (arena == nullptr) {
      arena = carrel_arena_create();
      expect(arena != nullptr || limited_, "no arena");
      return;
    }
    if (how / kArenas % 8 == 7) {  // gives all of its blocks back at once
      for (std::size_t i = live_.size(); i-- > 0;) {
        if (live_[i].arena != static_cast<int>(which)) continue;
        check(live_[i]);
        forget(i);
      }
      if (bytes_.next() % 2 == 0) {
        expect(carrel_arena_reset(arena) == CARREL_OK, "an arena cannot be reset");
      } else {
        expect(carrel_arena_destroy(arena) == CARREL_OK, "an arena cannot be destroyed");
        arena = nullptr;
      }
      return;
    }
    const std::size_t bytes = size();
    void* block = nullptr;
    std::size_t alignment = 16;
    if (how / kArenas % 3 == 0) {
      block = carrel_arena_alloc(arena, bytes);
    } else if (how / kArenas % 3 == 1) {
      block = carrel_arena_calloc(arena, 1, bytes);
      expect_zero(block, bytes);
    } else {
      alignment = std::size_t{1} << bytes_.next() % 18;
      block = carrel_arena_aligned_alloc(arena, alignment, bytes);
    }
    if (block != nullptr) {
      expect(carrel_arena_of(block) == arena, "a block is another arena's");
      std::size_t found = 0;
      expect(carrel_arena_find(arena, block, &found) == block, "an arena misses its block");
      expect(found >= bytes, "an arena's block is too small");
    }
    add(block, bytes, alignment, static_cast<int>(which));
  }

  void set_options(unsigned how) {
    static const char* const kDecay[] = {"0", "1", "100", "20000"};
    switch (how % 4) {
      case 0:
        carrel_set_option("decay_ms", kDecay[how / 4]);
        break;
      case 1:
        carrel_set_option("purge_thread", how < 8 ? "0" : "1");
        break;
      case 2:
        carrel_set_option("soft_limit_mib", how < 8 ? "0" : "8");
        break;
      default:
        carrel_set_option("limit_mib", how < 8 ? "0" : "16");
        limited_ = how >= 8;
        break;
    }
  }

  void fork_once() {
    if (forked_) return;
    forked_ = true;
    const pid_t child = fork();
    if (child == 0) {
      check_all();
      while (!live_.empty()) drop(live_.size() - 1, 1);
      for (std::size_t bytes = 1; bytes < 200'000; bytes *= 3) {
        void* block = carrel_malloc(bytes);
        expect(block != nullptr || limited_, "a child has no memory");
        carrel_free(block);
      }
      _exit(0);
    }
    int status = 0;
    if (child > 0) waitpid(child, &status, 0);
    expect(status == 0, "a child failed");
  }

  /// Two threads at once: each frees half of the blocks and allocates as many.
  void run_two() {
    std::vector<Block> shares[2];
    for (std::size_t i = 0; !live_.empty() && i < 64; ++i) {
      const Block block = live_.back();
      if (block.arena >= 0) break;
      shares[i % 2].push_back(forget(live_.size() - 1));
    }
    std::uint64_t tag = tag_ += 100'000;
    const std::function<void()> tasks[2] = {[&shares, tag] { churn(shares[0], tag); },
                                            [&shares, tag] { churn(shares[1], tag + 50'000); }};
    for (int i = 0; i < 2; ++i) {
      if (workers()[i] == nullptr) workers()[i] = new Worker;
      workers()[i]->start(&tasks[i]);
    }
    for (int i = 0; i < 2; ++i) workers()[i]->wait();
  }
  static void churn(std::vector<Block>& blocks, std::uint64_t tag) {
    for (Block& block : blocks) {
      release(block, 1);
      Block own;
      own.size = block.size;
      own.bytes = static_cast<unsigned char*>(carrel_malloc(own.size));
      own.tag = ++tag;
      block = own;
      if (block.bytes != nullptr) stress::fill(block);
    }
    for (const Block& block : blocks) {
      if (block.bytes != nullptr) release(block, 0);
    }
  }

  void finish() {
    check_all();
    const std::function<void()> task = [this] {
      while (!live_.empty()) drop(live_.size() - 1, 1);
      for (carrel_arena* arena : arenas_) {
        if (arena == nullptr) continue;
        carrel_arena_stats stats;
        carrel_arena_stats_read(arena, &stats, sizeof stats);
        expect(stats.live_blocks == 0, "an arena counts blocks that are freed");
        carrel_arena_destroy(arena);
      }
    };
    if (workers()[0] == nullptr) workers()[0] = new Worker;
    workers()[0]->run(&task);
    std::uint64_t blocks = 1;
    expect(carrel_ctl_read_u64("stats.live_blocks", &blocks) == CARREL_OK, "no statistics");
    expect(!kExactSums || blocks == 0, "the heap counts blocks that are freed");
    for (const char* option : {"soft_limit_mib", "limit_mib"}) carrel_set_option(option, "0");
    carrel_set_option("decay_ms", "500");
    carrel_set_option("purge_thread", "1");
  }

  Bytes bytes_;
  std::vector<Block> live_;
  std::map<std::uintptr_t, std::uintptr_t> by_address_;
  std::size_t live_bytes_ = 0;
  std::uint64_t tag_ = 0;
  carrel_arena* arenas_[kArenas] = {};
  bool limited_ = false;
  bool forked_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Machine({data, size}).run();
  return 0;
}
