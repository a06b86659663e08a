// Pages of 4, 16 and 64 KiB in every kind of address space: whole programs, the return of
// memory, zeroed memory and moves, end to end.
#include "program.h"

namespace carrel::core {
namespace {

struct Machine {
  const char* name;
  std::size_t page_bytes;
  std::size_t address_space_limit;
  std::size_t max_reservation_bytes;
  std::size_t commit_budget_bytes;
  bool ignore_hints;
};
void PrintTo(const Machine& machine, std::ostream* out) { *out << machine.name; }

constexpr std::size_t kNone = SIZE_MAX;
constexpr Machine kMachines[] = {
    {"pages_4k", 4 * kKiB, kNone, kNone, kNone, false},
    {"pages_16k", 16 * kKiB, kNone, kNone, kNone, false},
    {"pages_64k", 64 * kKiB, kNone, kNone, kNone, false},
    {"pages_4k_limited", 4 * kKiB, 2000 * kMiB, kNone, kNone, false},
    {"pages_16k_limited", 16 * kKiB, 2000 * kMiB, kNone, kNone, false},
    {"pages_64k_limited", 64 * kKiB, 2000 * kMiB, kNone, kNone, false},
    {"pages_64k_limited_scattered", 64 * kKiB, 2000 * kMiB, kNone, kNone, true},
    {"pages_16k_in_39_bits", 16 * kKiB, kNone, 256 * kGiB, kNone, false},
    {"pages_64k_no_reservations", 64 * kKiB, kNone, kGiB, kNone, false},
    {"pages_16k_no_overcommit", 16 * kKiB, kNone, kNone, kGiB, false},
};

class PageSizes : public HeapFixture, public ::testing::WithParamInterface<Machine> {
 protected:
  PageSizes() { begin(); }
  void begin() {
    renew();
    FakeOs::settings.page_bytes = GetParam().page_bytes;
    FakeOs::settings.address_space_limit = GetParam().address_space_limit;
    FakeOs::settings.max_reservation_bytes = GetParam().max_reservation_bytes;
    FakeOs::settings.commit_budget_bytes = GetParam().commit_budget_bytes;
    FakeOs::settings.ignore_hints = GetParam().ignore_hints;
  }
};

TEST_P(PageSizes, ProgramsLoseNothing) {
  for (unsigned seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(seed);
    begin();
    Program program(*heap_, seed);
    program.run(1200);
    program.check_all();
    program.finish();
    expect_clean();
    EXPECT_STREQ(FakeOs::violations(), "");
    if (HasFailure()) return;
  }
}

TEST_P(PageSizes, EverySizeIsServed) {
  std::vector<char*> blocks;
  for (std::size_t size = 0; size < 2 * kMiB; size += 1 + size / 9) {
    blocks.push_back(allocate(size));
    ASSERT_NE(blocks.back(), nullptr) << size;
    EXPECT_EQ(heap_->usable_size(blocks.back()), heap_->good_size(size));
    memset(blocks.back(), 1, heap_->usable_size(blocks.back()));
  }
  free_all(blocks);
  expect_clean();
}

TEST_P(PageSizes, LargeSizesAreWholePages) {
  for (const std::size_t size : {33'000u, 70'000u, 1'000'000u}) {
    char* block = allocate(size);
    EXPECT_EQ(heap_->usable_size(block), align_up(size, FakeOs::page_bytes()));
    heap_->free(block);
  }
}

TEST_P(PageSizes, AllMemoryComesBack) {
  const std::vector<char*> small = allocate_many(30'000, 200);
  const std::vector<char*> large = allocate_many(20, 300'000);
  free_all(small);
  free_all(large);
  heap_->purge();
  std::size_t resident = 0;
  walk_pool<FakeOs>(heap_->map(), heap_->pool(), [&](const Span& span) {
    resident += FakeOs::resident_bytes(heap_->map().address(span.first),
                                       std::size_t{span.count} << kGranuleShift);
  });
  EXPECT_EQ(resident, 0u);
  expect_clean();
}

TEST_P(PageSizes, HolesInLiveSlabsComeBack) {
  // One block in a hundred stays: of slabs with 4 KiB pages most pages are free.
  std::vector<char*> blocks = allocate_many(20'000, 128);
  std::vector<char*> stragglers;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (i % 2000 == 7) {
      stragglers.push_back(blocks[i]);
      memset(blocks[i], 's', 128);
    } else {
      heap_->free(blocks[i]);
    }
  }
  heap_->purge();
  std::size_t resident = 0;
  walk_pool<FakeOs>(heap_->map(), heap_->pool(), [&](const Span& span) {
    resident += FakeOs::resident_bytes(heap_->map().address(span.first),
                                       std::size_t{span.count} << kGranuleShift);
  });
  EXPECT_LE(resident, stragglers.size() * FakeOs::page_bytes());
  for (char* block : stragglers) {
    EXPECT_EQ(block[0], 's');
    EXPECT_EQ(block[127], 's');
    heap_->free(block);
  }
  expect_clean();
}

TEST_P(PageSizes, ZeroedBlocksAreZero) {
  for (int round = 0; round < 3; ++round) {
    std::vector<char*> blocks;
    for (const std::size_t size : {100u, 5000u, 40'000u, 100'000u, 700'000u, 5'000'000u}) {
      auto* block = static_cast<char*>(heap_->zero_allocate(size));
      ASSERT_TRUE(block[0] == 0 && memcmp(block, block + 1, size - 1) == 0) << size;
      memset(block, 1, heap_->usable_size(block));
      blocks.push_back(block);
    }
    free_all(blocks);
    if (round == 1) heap_->purge();
  }
  expect_clean();
}

TEST_P(PageSizes, BlocksGrowByMoving) {
  char* block = nullptr;
  std::vector<char*> neighbours;
  for (std::size_t size = 1000; size < 40 * kMiB; size *= 3) {
    block = static_cast<char*>(heap_->reallocate(block, size, 16));
    ASSERT_NE(block, nullptr);
    if (size > 1000) {
      EXPECT_EQ(memcmp(block, &neighbours.back(), sizeof(char*)), 0);
    }
    neighbours.push_back(allocate(size / 2));
    memcpy(block, &neighbours.back(), sizeof(char*));
    block[size - 1] = 1;
  }
  heap_->free(block);
  free_all(neighbours);
  expect_clean();
}

TEST_P(PageSizes, TheHelperThreadGivesMemoryBack) {
  free_all(allocate_many(100, 100'000));
  EXPECT_GE(touched_bytes(), 2 * kMiB);
  ASSERT_TRUE(FakeOs::run_thread());
  EXPECT_EQ(touched_bytes(), 0u);
  expect_clean();
}

INSTANTIATE_TEST_SUITE_P(Machines, PageSizes, ::testing::ValuesIn(kMachines),
                         [](const auto& one) { return std::string(one.param.name); });

}  // namespace
}  // namespace carrel::core
