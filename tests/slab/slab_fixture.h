// Slab bins and shards on the simulated system, and what their tests have in common.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "fake_os_test.h"
#include "pool_walker.h"
#include "slab/shards.h"

namespace carrel::core {

class SlabFixture : public FakeOsTest {
 public:  // also for functions that the system calls back
  static constexpr std::uint32_t kShards = 2;

  /// Once per test, after its settings were made.
  void initialize(std::uint32_t shards = kShards) {
    ASSERT_TRUE(map_.initialize(64 * kGiB));
    ASSERT_TRUE(shards_.initialize(shards));
    for (std::uint32_t shard = 0; shard < shards; ++shard) shards_.prepare(shard);
  }

  /// Exactly `count` blocks of a class.
  std::vector<char*> take(std::uint32_t shard, std::uint8_t id, std::size_t count) {
    std::vector<char*> blocks;
    while (blocks.size() < count) {
      void* array[64];
      const std::size_t want = count - blocks.size() < 64 ? count - blocks.size() : 64;
      const std::uint32_t got =
          shards_.take(shard, id, array + want, static_cast<std::uint32_t>(want));
      if (got == 0) break;
      for (std::uint32_t i = 0; i < got; ++i)
        blocks.push_back(static_cast<char*>(array[want - 1 - i]));
    }
    return blocks;
  }
  void give(std::uint8_t id, const std::vector<char*>& blocks) {
    for (std::size_t at = 0; at < blocks.size(); at += 256) {
      std::vector<void*> batch(
          blocks.begin() + static_cast<std::ptrdiff_t>(at),
          blocks.begin() + static_cast<std::ptrdiff_t>(std::min(at + 256, blocks.size())));
      shards_.give(id, batch.data(), static_cast<std::uint32_t>(batch.size()), 0);
    }
  }
  Span* slab_of(const char* block) const { return map_.span_of(block); }
  void set_tick(std::uint32_t tick) { context_.tick.store(tick); }

  PageMap<FakeOs> map_;
  MetadataArena<FakeOs> metadata_;
  SpanPool<FakeOs> pool_{map_, metadata_};
  SlabContext<FakeOs> context_{map_, metadata_, pool_};
  Shards<FakeOs> shards_{context_};
};

}  // namespace carrel::core
