// slab/slab_bin.h, purge_cold(): the whole pages in which every slot is free go back, and
// nothing else; live blocks keep their contents; misuse meanwhile is noticed.
#include <algorithm>
#include <random>
#include <set>
#include <thread>

#include "slab_fixture.h"

namespace carrel::core {
namespace {

struct PurgeCase {
  int id;
  std::size_t page_bytes;
};
void PrintTo(const PurgeCase& one, std::ostream* out) {
  *out << slot_bytes_for(static_cast<std::uint8_t>(one.id)) << " bytes, pages of "
       << one.page_bytes;
}

std::vector<PurgeCase> purge_cases() {
  std::vector<PurgeCase> cases;
  for (const std::size_t page : {4 * kKiB, 16 * kKiB, 64 * kKiB}) {
    for (int id = 1; id <= kClassCount; ++id) cases.push_back({id, page});
  }
  return cases;
}

class SlabPurge : public SlabFixture, public ::testing::WithParamInterface<PurgeCase> {
 protected:
  SlabPurge() : id_(static_cast<std::uint8_t>(GetParam().id)), info_(kClasses[id_]) {
    FakeOs::settings.page_bytes = GetParam().page_bytes;
    initialize();
  }

  std::size_t purge(Span* slab, std::uint32_t age = 0) {
    return shards_.bin(slab->shard, id_).purge_cold(context_, slab, age);
  }
  void fill(char* block, char value) const { memset(block, value, info_.slot_bytes); }
  bool is_filled(const char* block, char value) const {
    return block[0] == value && memcmp(block, block + 1, info_.slot_bytes - 1) == 0;
  }

  /// The bytes of a slab's whole pages in which nothing lives.
  std::size_t bytes_without(const Span* slab, const std::set<char*>& live) const {
    const std::size_t page = FakeOs::settings.page_bytes;
    char* base = map_.address(slab->first);
    const std::size_t end = std::size_t{info_.slots} * info_.slot_bytes;
    std::size_t bytes = 0;
    for (std::size_t at = 0; at + page <= end; at += page) {
      const auto next =
          live.lower_bound(base + at - std::min(at, std::size_t{info_.slot_bytes - 1}));
      if (next == live.end() || *next >= base + at + page) bytes += page;
    }
    return bytes;
  }

  const std::uint8_t id_;
  const ClassInfo& info_;
};

TEST_P(SlabPurge, GivesBackExactlyTheWholeFreePages) {
  std::mt19937 random(static_cast<unsigned>(GetParam().id));
  for (int round = 0; round < 3; ++round) {
    std::vector<char*> blocks = take(0, id_, info_.slots);
    for (char* block : blocks) fill(block, 'f');
    // Survivors in a random stretch, so that there are long free runs too.
    std::set<char*> live;
    std::vector<char*> freed;
    const std::size_t from = random() % blocks.size();
    const std::size_t to = from + random() % (blocks.size() - from);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const bool survives = i == from || (i >= from && i < to && random() % 3 == 0);
      if (survives) {
        live.insert(blocks[i]);
        fill(blocks[i], 'L');
      } else {
        freed.push_back(blocks[i]);
      }
    }
    give(id_, freed);
    Span* slab = slab_of(*live.begin());
    char* base = map_.address(slab->first);
    const std::size_t slab_bytes = info_.granules * kGranuleBytes;
    const std::size_t resident = FakeOs::resident_bytes(base, slab_bytes);
    const std::size_t expected = bytes_without(slab, live);
    EXPECT_EQ(purge(slab), expected);
    EXPECT_EQ(FakeOs::resident_bytes(base, slab_bytes), resident - expected);
    for (char* block : live) ASSERT_TRUE(is_filled(block, 'L'));
    EXPECT_EQ(slab->free_slots, freed.size());
    EXPECT_EQ(shards_.bin(0, id_).totals().used_slots, live.size());

    EXPECT_EQ(purge(slab), 0u) << "nothing was freed since";
    // Every hole serves again, once.
    const std::vector<char*> again = take(0, id_, freed.size());
    std::set<char*> all = live;
    for (char* block : again) {
      ASSERT_EQ(slab_of(block), slab);
      ASSERT_TRUE(all.insert(block).second);
      fill(block, 'a');
    }
    for (char* block : live) ASSERT_TRUE(is_filled(block, 'L'));
    give(id_, std::vector<char*>(all.begin(), all.end()));
  }
}

TEST_P(SlabPurge, RespectsTheAge) {
  set_tick(100);
  std::vector<char*> blocks = take(0, id_, info_.slots);
  for (char* block : blocks) fill(block, 'x');
  char* survivor = blocks.back();
  blocks.pop_back();
  set_tick(105);
  give(id_, blocks);
  Span* slab = slab_of(survivor);
  set_tick(114);
  EXPECT_EQ(purge(slab, 10), 0u);
  EXPECT_EQ(FakeOs::calls(OsCall::kPurge), 0u);
  set_tick(115);
  EXPECT_EQ(purge(slab, 10), bytes_without(slab, {survivor}));
  EXPECT_TRUE(is_filled(survivor, 'x'));
}

TEST_P(SlabPurge, AnEmptyColdSlabGoesBackToThePool) {
  const std::vector<char*> blocks = take(0, id_, info_.slots);
  for (char* block : blocks) fill(block, 'x');
  give(id_, blocks);
  Span* slab = slab_of(blocks[0]);
  purge(slab);
  EXPECT_EQ(shards_.bin(0, id_).totals().slabs, 0u);
  EXPECT_EQ(pool_.totals().free, pool_.totals().added);
  walk_pool(map_, pool_);
}

TEST_P(SlabPurge, RefusalChangesNothing) {
  FakeOs::settings.refuse_purge = true;
  std::vector<char*> blocks = take(0, id_, info_.slots);
  for (char* block : blocks) fill(block, 'x');
  char* survivor = blocks.front();
  blocks.erase(blocks.begin());
  give(id_, blocks);
  Span* slab = slab_of(survivor);
  EXPECT_EQ(purge(slab), 0u);
  EXPECT_EQ(slab->free_slots, info_.slots - 1);
  EXPECT_TRUE(is_filled(survivor, 'x'));
  EXPECT_EQ(take(0, id_, info_.slots - 1).size(), info_.slots - 1);
}

INSTANTIATE_TEST_SUITE_P(
    Classes, SlabPurge, ::testing::ValuesIn(purge_cases()), [](const auto& one) {
      return std::to_string(slot_bytes_for(static_cast<std::uint8_t>(one.param.id))) +
             "_bytes_pages_of_" + std::to_string(one.param.page_bytes / kKiB) + "_KiB";
    });

// --- what happens while the system is at it -------------------------------------------

class SlabPurgeMeanwhile : public SlabFixture {
 public:
  static constexpr std::uint8_t kId = size_class_for(256);
  static constexpr std::uint32_t kSlots = kClasses[kId].slots;

  SlabPurgeMeanwhile() {
    initialize();
    self = this;
    blocks_ = take(0, kId, kSlots);
    for (char* block : blocks_) memset(block, 'x', 256);
    slab_ = slab_of(blocks_[0]);
    give(kId, {blocks_.begin() + 1, blocks_.end()});
  }
  /// Runs `action` during the first purge.
  void meanwhile(void (*action)()) {
    action_ = action;
    FakeOs::settings.before_call = [](OsCall call, void*, std::size_t) {
      if (call != OsCall::kPurge) return;
      FakeOs::settings.before_call = nullptr;
      self->action_();
    };
    shards_.bin(0, kId).purge_cold(context_, slab_, 0);
  }

  static inline SlabPurgeMeanwhile* self;
  void (*action_)() = nullptr;
  std::vector<char*> blocks_;
  Span* slab_ = nullptr;
  std::vector<char*> taken_;
};

TEST_F(SlabPurgeMeanwhile, HeldSlotsAreNotHandedOut) {
  meanwhile([] {
    self->taken_ = self->take(0, kId, 40);
    for (char* block : self->taken_) memset(block, 't', 256);
  });
  ASSERT_EQ(taken_.size(), 40u);
  for (const char* block : taken_) {
    EXPECT_EQ(block[0], 't') << "purged although it was handed out";
    EXPECT_EQ(block[255], 't');
  }
  std::vector<char*> all = take(0, kId, kSlots - 1);
  EXPECT_EQ(std::set<char*>(all.begin(), all.end()).size(), kSlots - 1);
  for (char* block : all) {
    EXPECT_EQ(std::count(taken_.begin(), taken_.end(), block), 0);
  }
}

TEST_F(SlabPurgeMeanwhile, TheLastBlockMayBeFreed) {
  meanwhile([] { self->give(kId, {self->blocks_[0]}); });
  EXPECT_EQ(shards_.bin(0, kId).totals().used_slots, 0u);
  EXPECT_LE(shards_.bin(0, kId).totals().slabs, 1u);
  EXPECT_EQ(slab_->free_slots, kSlots);
  EXPECT_EQ(take(0, kId, kSlots).size(), kSlots);
}

TEST_F(SlabPurgeMeanwhile, ADoubleFreeOfAHeldSlotIsNoticed) {
  // While its page is given back, a free slot counts as taken; a second free of it must
  // not end as a slab that believes to have more free slots than it has.
  bool reported = false;
  try {
    meanwhile([] { self->give(kId, {self->blocks_[100]}); });
  } catch (const FakeOsAbort&) {
    reported = true;
    EXPECT_NE(std::string(FakeOs::stderr_text()).find("double-free"), std::string::npos);
  }
  if (!reported) {
    std::uint32_t free = 0;
    for (std::uint32_t word = 0; word < kClasses[kId].bit_words; ++word) {
      free += static_cast<std::uint32_t>(std::popcount(slab_->free_bits[word]));
    }
    EXPECT_EQ(slab_->free_slots, free) << "neither reported nor harmless";
  }
}

TEST_F(SlabPurgeMeanwhile, ASlabOfAnotherBinIsLeftAlone) {
  EXPECT_EQ(shards_.bin(1, kId).purge_cold(context_, slab_, 0), 0u);
  EXPECT_EQ(shards_.bin(0, kId + 1).purge_cold(context_, slab_, 0), 0u);
  EXPECT_EQ(FakeOs::calls(OsCall::kPurge), 0u);
}

TEST_F(SlabPurgeMeanwhile, ThreadsMayUseTheBin) {
  FakeOs::settings.before_call = nullptr;
  std::atomic<bool> stop{false};
  std::atomic<int> errors{0};
  std::thread purger([&] {
    while (!stop.load()) {
      const std::size_t count = map_.granule_count();
      for (std::size_t i = 0; i < count; ++i) {
        const std::uint8_t id = plain_class(map_.class_at(i));
        if (id == kNotOurs || id > kClassCount) continue;
        Span* slab = map_.granule(i).span;
        const std::uint32_t shard = slab->shard;
        if (shard < shards_.count()) shards_.bin(shard, id).purge_cold(context_, slab, 0);
      }
    }
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      std::vector<char*> mine;
      for (int i = 0; i < 1500; ++i) {
        if (mine.size() < 2000 && random() % 2 == 0) {
          for (char* block : take(static_cast<std::uint32_t>(t), kId, 1 + random() % 60)) {
            memset(block, t + 1, 256);
            mine.push_back(block);
          }
        } else {
          std::shuffle(mine.begin(), mine.end(), random);
          const std::size_t count = std::min<std::size_t>(mine.size(), random() % 120);
          std::vector<char*> batch(mine.end() - static_cast<std::ptrdiff_t>(count), mine.end());
          mine.resize(mine.size() - count);
          for (const char* block : batch) errors += block[0] != t + 1 || block[255] != t + 1;
          give(kId, batch);
        }
      }
      for (const char* block : mine) errors += block[0] != t + 1 || block[255] != t + 1;
      give(kId, mine);
    });
  }
  for (std::thread& thread : threads) thread.join();
  stop = true;
  purger.join();
  EXPECT_EQ(errors.load(), 0) << "blocks lost their contents";
  give(kId, {blocks_[0]});
  EXPECT_EQ(shards_.bin(0, kId).totals().used_slots, 0u);
  EXPECT_EQ(shards_.bin(1, kId).totals().used_slots, 0u);
  walk_pool(map_, pool_);
}

}  // namespace
}  // namespace carrel::core
