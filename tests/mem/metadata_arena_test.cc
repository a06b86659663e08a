// mem/metadata_arena.h: records are zeroed, apart, reused by size, and never given back.
#include "mem/metadata_arena.h"

#include <cstring>
#include <map>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "fake_os_test.h"

namespace carrel::core {
namespace {

class MetadataArenaTest : public FakeOsTest {
 protected:
  static bool is_zero(const void* record, std::size_t bytes) {
    const char* p = static_cast<const char*>(record);
    for (std::size_t i = 0; i < bytes; ++i) {
      if (p[i] != 0) return false;
    }
    return true;
  }
  MetadataArena<FakeOs> arena_;
};

TEST_F(MetadataArenaTest, MapsNothingUntilItIsNeeded) {
  EXPECT_EQ(arena_.mapped_bytes(), 0u);
  EXPECT_EQ(FakeOs::calls(OsCall::kMap), 0u);
}

TEST_F(MetadataArenaTest, RecordsOfAllSizesAreZeroedAlignedAndApart) {
  std::map<std::uintptr_t, std::size_t> records;  // start, size
  for (std::size_t bytes = 1; bytes <= arena_.kMaxRecordBytes; bytes += 61) {
    char* record = static_cast<char*>(arena_.allocate(bytes));
    ASSERT_NE(record, nullptr);
    EXPECT_EQ(address_of(record) % arena_.kLineBytes, 0u);
    EXPECT_TRUE(is_zero(record, bytes));
    memset(record, 0xA5, bytes);
    records[address_of(record)] = bytes;
  }
  std::uintptr_t end = 0;
  for (const auto& [start, bytes] : records) {
    EXPECT_GE(start, end);
    end = start + bytes;
  }
  EXPECT_EQ(arena_.mapped_bytes(), FakeOs::usable_bytes());
}

TEST_F(MetadataArenaTest, TheLargestRecordFits) {
  char* record = static_cast<char*>(arena_.allocate(arena_.kMaxRecordBytes));
  ASSERT_NE(record, nullptr);
  memset(record, 1, arena_.kMaxRecordBytes);
  arena_.release(record, arena_.kMaxRecordBytes);
  EXPECT_EQ(arena_.allocate(arena_.kMaxRecordBytes), record);
}

TEST_F(MetadataArenaTest, ReusesRecordsOfTheSameSizeAndZeroesThem) {
  for (const std::size_t bytes : {1u, 64u, 65u, 192u, 4096u}) {
    char* first = static_cast<char*>(arena_.allocate(bytes));
    memset(first, 0xFF, bytes);
    arena_.release(first, bytes);
    char* second = static_cast<char*>(arena_.allocate(bytes));
    EXPECT_EQ(second, first) << bytes;
    EXPECT_TRUE(is_zero(second, bytes)) << bytes;
  }
}

TEST_F(MetadataArenaTest, SizesOfDifferentLinesDoNotMix) {
  void* small = arena_.allocate(64);
  arena_.release(small, 64);
  EXPECT_NE(arena_.allocate(65), small);
  EXPECT_EQ(arena_.allocate(1), small);
}

TEST_F(MetadataArenaTest, NeverGivesMappingsBack) {
  std::vector<void*> records;
  for (int i = 0; i < 5000; ++i) records.push_back(arena_.allocate(192));
  const std::size_t mapped = arena_.mapped_bytes();
  for (void* record : records) arena_.release(record, 192);
  EXPECT_EQ(FakeOs::calls(OsCall::kUnmap), 0u);
  EXPECT_EQ(FakeOs::calls(OsCall::kPurge), 0u);
  for (int i = 0; i < 5000; ++i) arena_.allocate(192);
  EXPECT_EQ(arena_.mapped_bytes(), mapped);
}

TEST_F(MetadataArenaTest, AFewRecordsTakeLittleMemory) {
  for (int i = 0; i < 16; ++i) arena_.allocate(192);
  const OsRange chunk{address_of(arena_.allocate(64)), 0};
  EXPECT_LE(arena_.mapped_bytes(), 256 * kKiB);
  // What was not handed out was not touched.
  const std::uintptr_t start = align_down(chunk.start, 4096);
  EXPECT_EQ(FakeOs::resident_bytes(at_address<void>(start + 4096), 64 * kKiB), 0u);
}

TEST_F(MetadataArenaTest, ChunksGrowSoThatCallsStayFew) {
  std::size_t handed_out = 0;
  while (handed_out < 32 * kMiB) {
    ASSERT_NE(arena_.allocate(8 * kKiB), nullptr);
    handed_out += 8 * kKiB;
  }
  EXPECT_LE(FakeOs::calls(OsCall::kMap), 16u);
}

TEST_F(MetadataArenaTest, ExhaustionIsNullAndPasses) {
  FakeOs::fail_call(1, true);
  EXPECT_EQ(arena_.allocate(64), nullptr);
  EXPECT_EQ(arena_.mapped_bytes(), 0u);
  FakeOs::fail_call(0);
  EXPECT_NE(arena_.allocate(64), nullptr);
}

TEST_F(MetadataArenaTest, ASmallChunkWillDoWhenALargeOneIsRefused) {
  // The first chunk, then one twice as large, which is refused, and a small one instead.
  while (FakeOs::calls(OsCall::kMap) < 1) arena_.allocate(8 * kKiB);
  const std::size_t first_chunk = arena_.mapped_bytes();
  FakeOs::fail_call(1);
  while (FakeOs::failures() == 0) ASSERT_NE(arena_.allocate(8 * kKiB), nullptr);
  EXPECT_EQ(arena_.mapped_bytes(), 2 * first_chunk);
}

TEST_F(MetadataArenaTest, RecordsInUseSurviveExhaustion) {
  std::vector<char*> records;
  FakeOs::settings.commit_budget_bytes = 512 * kKiB;
  while (auto* record = static_cast<char*>(arena_.allocate(1000))) {
    memset(record, static_cast<char>(records.size()), 1000);
    records.push_back(record);
  }
  EXPECT_GE(records.size(), 200u);
  for (std::size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(records[i][0], static_cast<char>(i));
    EXPECT_EQ(records[i][999], static_cast<char>(i));
  }
  arena_.release(records.back(), 1000);
  EXPECT_EQ(arena_.allocate(1000), records.back()) << "what comes back can be had again";
}

TEST_F(MetadataArenaTest, WorksWithLargePages) {
  FakeOs::settings.page_bytes = 64 * kKiB;
  for (int i = 0; i < 1000; ++i) ASSERT_NE(arena_.allocate(500), nullptr);
}

TEST_F(MetadataArenaTest, ThreadsGetDifferentRecords) {
  constexpr int kThreads = 4;
  std::vector<std::vector<void*>> taken(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < 3000; ++i) {
        if (!taken[t].empty() && random() % 3 == 0) {
          arena_.release(taken[t].back(), 192);
          taken[t].pop_back();
        } else {
          taken[t].push_back(arena_.allocate(192));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<void*> all;
  std::size_t count = 0;
  for (const auto& of_one : taken) {
    all.insert(of_one.begin(), of_one.end());
    count += of_one.size();
  }
  EXPECT_EQ(all.size(), count);
  EXPECT_EQ(all.count(nullptr), 0u);
}

}  // namespace
}  // namespace carrel::core
