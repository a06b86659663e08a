// os/os.h, one test for each promise, over Linux and over the simulated system alike: what
// the other unit tests build on must be what programs run on.
#include <errno.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "base/bits.h"
#include "memory_probe.h"
#include "os/fake/fake_os.h"
#include "os/linux/linux_os.h"

namespace carrel::core {
namespace {

template <class Os>
class OsContract : public ::testing::Test {
 protected:
  OsContract() { FakeOs::reset(); }
  ~OsContract() override {
    for (const auto& [p, bytes] : kept_) Os::unmap(p, bytes);
    EXPECT_STREQ(FakeOs::violations(), "");
    FakeOs::reset();
  }

  static std::size_t page() { return Os::page_bytes(); }

  char* keep(void* p, std::size_t bytes) {
    if (p != nullptr) kept_.emplace_back(p, bytes);
    return static_cast<char*>(p);
  }
  char* reserve(std::size_t bytes, std::size_t align) {
    return keep(Os::reserve(bytes, align), bytes);
  }
  char* map(std::size_t bytes) { return keep(Os::map(nullptr, bytes), bytes); }

  /// Writes a byte to each page that tells which page it is.
  static void mark(char* p, std::size_t bytes, int salt) {
    for (std::size_t i = 0; i < bytes; i += page()) p[i] = mark_of(i, salt);
  }
  static bool has_marks(const char* p, std::size_t bytes, int salt) {
    for (std::size_t i = 0; i < bytes; i += page()) {
      if (p[i] != mark_of(i, salt)) return false;
    }
    return true;
  }

 private:
  static char mark_of(std::size_t offset, int salt) {
    return static_cast<char>(1 + (offset / page() * 7 + static_cast<std::size_t>(salt)) % 120);
  }
  std::vector<std::pair<void*, std::size_t>> kept_;
};

using Systems = ::testing::Types<LinuxOs, FakeOs>;
TYPED_TEST_SUITE(OsContract, Systems);

TYPED_TEST(OsContract, PagesAreAPowerOfTwo) {
  EXPECT_TRUE(is_power_of_two(TypeParam::page_bytes()));
  EXPECT_GE(TypeParam::page_bytes(), 4096u);
  EXPECT_EQ(TypeParam::page_bytes(), TypeParam::page_bytes());
}

TYPED_TEST(OsContract, ThereIsACpu) { EXPECT_GE(TypeParam::cpu_count(), 1u); }

TYPED_TEST(OsContract, TheClockNeverGoesBack) {
  std::uint64_t last = TypeParam::now_ms();
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t now = TypeParam::now_ms();
    ASSERT_GE(now, last);
    last = now;
  }
}

TYPED_TEST(OsContract, ReservationsAreAligned) {
  for (std::size_t align = this->page(); align <= 256 * kMiB; align *= 4) {
    char* p = this->reserve(3 * this->page(), align);
    ASSERT_NE(p, nullptr) << align;
    EXPECT_EQ(address_of(p) % align, 0u) << align;
  }
}

TYPED_TEST(OsContract, AReservationCannotBeTouched) {
  char* p = this->reserve(kMiB, this->page());
  ASSERT_NE(p, nullptr);
  EXPECT_FALSE(is_readable(p));
  EXPECT_FALSE(is_writable(p));
  EXPECT_FALSE(is_readable(p + kMiB - 1));
}

TYPED_TEST(OsContract, AReservationOfMoreThanThereIsIsRefused) {
  EXPECT_EQ(TypeParam::reserve(std::size_t{1} << 60, TypeParam::page_bytes()), nullptr);
  EXPECT_EQ(TypeParam::map(nullptr, std::size_t{1} << 60), nullptr);
}

TYPED_TEST(OsContract, CommitMakesExactlyItsRangeUsableAndZero) {
  const std::size_t page = this->page();
  char* p = this->reserve(8 * page, page);
  ASSERT_TRUE(TypeParam::commit(p + 2 * page, 3 * page));
  EXPECT_TRUE(is_zero(p + 2 * page, 3 * page));
  memset(p + 2 * page, 1, 3 * page);
  EXPECT_FALSE(is_readable(p + 2 * page - 1));
  EXPECT_FALSE(is_readable(p + 5 * page));
  ASSERT_TRUE(TypeParam::commit(p + 5 * page, 3 * page));
  EXPECT_TRUE(is_zero(p + 5 * page, 3 * page));
  EXPECT_EQ(p[2 * page], 1);
  EXPECT_EQ(p[5 * page - 1], 1);
}

TYPED_TEST(OsContract, CommittingAgainWhatIsUntouchedIsAllowed) {
  const std::size_t page = this->page();
  char* p = this->reserve(4 * page, page);
  ASSERT_TRUE(TypeParam::commit(p, 4 * page));
  ASSERT_TRUE(TypeParam::commit(p, 2 * page));
  EXPECT_TRUE(is_zero(p, 4 * page));
}

TYPED_TEST(OsContract, MapGivesZeroedMemory) {
  char* p = this->map(10 * this->page());
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(address_of(p) % this->page(), 0u);
  EXPECT_TRUE(is_zero(p, 10 * this->page()));
  memset(p, 1, 10 * this->page());
}

TYPED_TEST(OsContract, MapTakesAHintThatIsFree) {
  const std::size_t page = this->page();
  char* p = this->map(8 * page);
  TypeParam::unmap(p + 4 * page, 4 * page);
  char* again = static_cast<char*>(TypeParam::map(p + 4 * page, 4 * page));
  EXPECT_EQ(again, p + 4 * page);
  if (again != p + 4 * page) this->keep(again, 4 * page);
}

TYPED_TEST(OsContract, MapNeverReplacesWhatIsThere) {
  const std::size_t page = this->page();
  char* p = this->map(4 * page);
  this->mark(p, 4 * page, 1);
  char* other = this->keep(TypeParam::map(p, 4 * page), 4 * page);
  ASSERT_NE(other, nullptr);
  EXPECT_NE(other, p);
  this->mark(other, 4 * page, 2);
  EXPECT_TRUE(this->has_marks(p, 4 * page, 1));
}

TYPED_TEST(OsContract, UnmapTakesAPart) {
  const std::size_t page = this->page();
  char* p = static_cast<char*>(TypeParam::map(nullptr, 4 * page));
  this->mark(p, 4 * page, 3);
  TypeParam::unmap(p + page, 2 * page);
  EXPECT_FALSE(is_readable(p + page));
  EXPECT_FALSE(is_readable(p + 3 * page - 1));
  EXPECT_TRUE(this->has_marks(p, page, 3));
  EXPECT_NE(p[3 * page], 0);
  TypeParam::unmap(p, page);
  TypeParam::unmap(p + 3 * page, page);
  EXPECT_FALSE(is_readable(p));
}

TYPED_TEST(OsContract, PurgedMemoryReadsAsZeroAndItsNeighboursStay) {
  const std::size_t page = this->page();
  char* p = this->map(6 * page);
  this->mark(p, 6 * page, 4);
  ASSERT_TRUE(TypeParam::purge(p + 2 * page, 2 * page));
  EXPECT_TRUE(is_zero(p + 2 * page, 2 * page));
  EXPECT_TRUE(this->has_marks(p, 2 * page, 4));
  EXPECT_NE(p[4 * page], 0);
  memset(p + 2 * page, 5, 2 * page);
  EXPECT_EQ(p[3 * page], 5);
}

TYPED_TEST(OsContract, PopulatedMemoryIsResidentOrUntouchedAndZero) {
  const std::size_t page = this->page();
  char* p = this->map(6 * page);
  TypeParam::populate(p + page, 4 * page);
  const std::size_t resident = TypeParam::resident_bytes(p, 6 * page);
  EXPECT_TRUE(resident == 4 * page || resident == 0) << resident;
  EXPECT_TRUE(is_zero(p, 6 * page));
}

TYPED_TEST(OsContract, PurgeReachesOverNeighbouringMappings) {
  const std::size_t page = this->page();
  char* p = this->reserve(4 * page, page);
  ASSERT_TRUE(TypeParam::commit(p, 2 * page));
  ASSERT_TRUE(TypeParam::commit(p + 2 * page, 2 * page));
  this->mark(p, 4 * page, 6);
  ASSERT_TRUE(TypeParam::purge(p, 4 * page));
  EXPECT_TRUE(is_zero(p, 4 * page));
}

// Up to 1 MiB Linux marks pages, beyond it changes the mapping.
TYPED_TEST(OsContract, FencedMemoryCannotBeReadAndIsZeroAfterwards) {
  const std::size_t page = this->page();
  for (const std::size_t bytes : {2 * page, 2 * kMiB}) {
    char* p = this->map(bytes + 2 * page);
    this->mark(p, bytes + 2 * page, 7);
    ASSERT_TRUE(TypeParam::fence(p + page, bytes));
    EXPECT_TRUE(is_readable(p));
    EXPECT_FALSE(is_readable(p + page));
    EXPECT_FALSE(is_readable(p + bytes));
    EXPECT_TRUE(is_readable(p + page + bytes));
    // Also over parts that were not fenced, which stay as they are.
    ASSERT_TRUE(TypeParam::unfence(p, bytes + 2 * page));
    EXPECT_TRUE(is_zero(p + page, bytes));
    EXPECT_TRUE(this->has_marks(p, page, 7));
    EXPECT_NE(p[page + bytes], 0);
    memset(p, 1, bytes + 2 * page);
  }
}

TYPED_TEST(OsContract, RandomWordsDiffer) {
  EXPECT_NE(TypeParam::random_word(), TypeParam::random_word());
}

/// Below 2 MiB, exactly one page table, and several of them.
constexpr std::size_t kMoveSizes[] = {64 * kKiB, kMiB, 2 * kMiB, 6 * kMiB};

TYPED_TEST(OsContract, MovedPagesLeaveZeroesBehind) {
  for (const std::size_t bytes : kMoveSizes) {
    char* from = this->map(bytes);
    char* to = this->map(bytes);
    this->mark(from, bytes, 7);
    this->mark(to, bytes, 8);
    ASSERT_TRUE(TypeParam::move_pages(from, to, bytes)) << bytes;
    EXPECT_TRUE(this->has_marks(to, bytes, 7)) << bytes;
    EXPECT_TRUE(is_zero(from, bytes)) << bytes;
    this->mark(from, bytes, 9);  // stays usable
    EXPECT_TRUE(this->has_marks(from, bytes, 9));
    EXPECT_TRUE(this->has_marks(to, bytes, 7));
  }
}

TYPED_TEST(OsContract, MovedPagesMayMoveAgain) {
  constexpr std::size_t kBytes = 2 * kMiB;
  char* places[4];
  for (char*& place : places) place = this->map(kBytes);
  this->mark(places[0], kBytes, 10);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(TypeParam::move_pages(places[i], places[i + 1], kBytes));
    EXPECT_TRUE(this->has_marks(places[i + 1], kBytes, 10)) << i;
    EXPECT_TRUE(is_zero(places[i], kBytes)) << i;
  }
}

TYPED_TEST(OsContract, MovingLeavesTheNeighboursAlone) {
  constexpr std::size_t kBytes = kMiB;
  char* from = this->map(3 * kBytes);
  char* to = this->map(3 * kBytes);
  this->mark(from, 3 * kBytes, 11);
  this->mark(to, 3 * kBytes, 12);
  ASSERT_TRUE(TypeParam::move_pages(from + kBytes, to + kBytes, kBytes));
  EXPECT_TRUE(this->has_marks(from, kBytes, 11));
  EXPECT_TRUE(this->has_marks(to, kBytes, 12));
  EXPECT_EQ(memcmp(from + 2 * kBytes, from, 0), 0);
  EXPECT_NE(from[2 * kBytes], 0);
  EXPECT_NE(to[2 * kBytes], 0);
  EXPECT_TRUE(is_zero(from + kBytes, kBytes));
}

// A block that was moved, and then grew into memory that was not, lies in two mappings.
TYPED_TEST(OsContract, MovingFromTwoMappingsWorksOrChangesNothing) {
  constexpr std::size_t kBytes = 2 * kMiB;
  char* first = this->map(kBytes);
  char* area = this->map(2 * kBytes);
  char* to = this->map(2 * kBytes);
  this->mark(first, kBytes, 13);
  ASSERT_TRUE(TypeParam::move_pages(first, area, kBytes));
  this->mark(area, 2 * kBytes, 14);
  this->mark(to, 2 * kBytes, 15);
  const bool moved = TypeParam::move_pages(area, to, 2 * kBytes);
  ASSERT_TRUE(is_readable(to)) << "the target has lost its memory; moved: " << moved;
  ASSERT_TRUE(is_readable(to + 2 * kBytes - 1)) << "moved: " << moved;
  ASSERT_TRUE(is_readable(area));
  if (moved) {
    EXPECT_TRUE(this->has_marks(to, 2 * kBytes, 14));
    EXPECT_TRUE(is_zero(area, 2 * kBytes));
  } else {
    EXPECT_TRUE(this->has_marks(area, 2 * kBytes, 14)) << "refused, but the source has changed";
  }
  EXPECT_TRUE(is_writable(to));
  EXPECT_TRUE(is_writable(area));
}

TYPED_TEST(OsContract, FreshPagesAreZeroAndUsable) {
  constexpr std::size_t kBytes = 2 * kMiB;
  char* from = this->map(kBytes);
  char* area = this->map(3 * kBytes);
  this->mark(area, 3 * kBytes, 16);
  this->mark(from, kBytes, 17);
  ASSERT_TRUE(TypeParam::move_pages(from, area + kBytes, kBytes));
  ASSERT_TRUE(TypeParam::fresh_pages(area + kBytes, kBytes));
  EXPECT_TRUE(is_zero(area + kBytes, kBytes));
  EXPECT_TRUE(this->has_marks(area, kBytes, 16));
  EXPECT_NE(area[2 * kBytes], 0);
  this->mark(area + kBytes, kBytes, 18);
  EXPECT_TRUE(this->has_marks(area + kBytes, kBytes, 18));
}

TYPED_TEST(OsContract, HugePageAdviceChangesNothing) {
  char* p = this->map(4 * kMiB);
  this->mark(p, 4 * kMiB, 19);
  TypeParam::advise_huge(p, 4 * kMiB, true);
  EXPECT_TRUE(this->has_marks(p, 4 * kMiB, 19));
}

TYPED_TEST(OsContract, ADenseRangeKeepsItsContentsWhenItCollapses) {
  constexpr std::size_t kHuge = 2 * kMiB;
  FakeOs::settings.has_huge_pages = true;
  char* p = this->reserve(2 * kHuge, kHuge);
  ASSERT_TRUE(TypeParam::commit(p, 2 * kHuge));
  this->mark(p, kHuge - 32 * this->page(), 20);
  TypeParam::collapse_dense(p, kHuge);  // whether or not the system can
  EXPECT_TRUE(this->has_marks(p, kHuge - 32 * this->page(), 20));
  EXPECT_TRUE(is_zero(p + kHuge - 32 * this->page(), 32 * this->page()));
  EXPECT_TRUE(is_zero(p + kHuge, kHuge));
}

TYPED_TEST(OsContract, ASparseRangeDoesNotCollapse) {
  constexpr std::size_t kHuge = 2 * kMiB;
  FakeOs::settings.has_huge_pages = true;
  char* p = this->reserve(kHuge, kHuge);
  ASSERT_TRUE(TypeParam::commit(p, kHuge));
  EXPECT_FALSE(TypeParam::collapse_dense(p, kHuge)) << "nothing of it is resident";
  this->mark(p, kHuge / 2, 21);
  EXPECT_FALSE(TypeParam::collapse_dense(p, kHuge)) << "half of it is";
  EXPECT_TRUE(this->has_marks(p, kHuge / 2, 21));
}

TYPED_TEST(OsContract, WaitReturnsAtOnceWhenTheWordDiffers) {
  std::atomic<std::uint32_t> word{1};
  TypeParam::wait(word, 0, 0);
  TypeParam::wait(word, 2, 60'000);
}

TYPED_TEST(OsContract, WaitEndsAtItsLimit) {
  std::atomic<std::uint32_t> word{0};
  const std::uint64_t start = TypeParam::now_ms();
  TypeParam::wait(word, 0, 30);
  // The clock may be coarse by up to 10 ms, and sleepers may wake for no reason: but then
  // not every time.
  for (int i = 0; i < 100 && TypeParam::now_ms() - start < 20; ++i) TypeParam::wait(word, 0, 30);
  EXPECT_GE(TypeParam::now_ms() - start, 20u);
  EXPECT_LT(TypeParam::now_ms() - start, 10'000u);
}

TYPED_TEST(OsContract, WakeEndsAWait) {
  std::atomic<std::uint32_t> word{0};
  std::atomic<int> done{0};
  std::vector<std::thread> sleepers;
  for (int i = 0; i < 3; ++i) {
    sleepers.emplace_back([&] {
      while (word.load() == 0) TypeParam::wait(word, 0, 0);
      done.fetch_add(1);
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(done.load(), 0);
  word.store(1);
  TypeParam::wake(word, 100);
  for (std::thread& sleeper : sleepers) sleeper.join();
  EXPECT_EQ(done.load(), 3);
}

TYPED_TEST(OsContract, NothingChangesErrno) {
  const std::size_t page = this->page();
  char* p = this->map(4 * page);
  std::atomic<std::uint32_t> word{1};
  char buffer[64];
  errno = 12345;
  EXPECT_EQ(TypeParam::reserve(std::size_t{1} << 60, page), nullptr);
  EXPECT_EQ(TypeParam::map(nullptr, std::size_t{1} << 60), nullptr);
  EXPECT_TRUE(TypeParam::purge(p, page));
  TypeParam::move_pages(p, p + 2 * page, page);
  TypeParam::fresh_pages(p, page);
  TypeParam::advise_huge(p, page, false);
  TypeParam::wait(word, 0, 0);
  TypeParam::wait(word, 1, 1);
  TypeParam::wake(word, 1);
  TypeParam::yield();
  TypeParam::now_ms();
  TypeParam::cpu_count();
  TypeParam::address_space_limit();
  TypeParam::environment("CARREL_NO_SUCH_VARIABLE", buffer, sizeof buffer);
  EXPECT_EQ(errno, 12345);
}

}  // namespace
}  // namespace carrel::core
