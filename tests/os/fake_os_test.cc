// os/fake: the instrument itself. What it is told to refuse it refuses, what it is asked
// it counts, and a caller that breaks the contract is found out.
#include "os/fake/fake_os.h"

#include <string.h>

#include <cstddef>

#include "base/bits.h"
#include "fake_os_test.h"

namespace carrel::core {
namespace {

constexpr std::size_t kPage = 4096;

class FakeSystem : public FakeOsTest {
 protected:
  /// Expects that a breach was noted which mentions this, and forgives it.
  static void expect_violation(const char* text) {
    EXPECT_NE(std::string(FakeOs::violations()).find(text), std::string::npos)
        << "noted: '" << FakeOs::violations() << "', expected: '" << text << "'";
    FakeOs::clear_violations();
  }
};

TEST_F(FakeSystem, CountsCallsAndTheirRanges) {
  char* p = static_cast<char*>(FakeOs::map(nullptr, 4 * kPage));
  FakeOs::purge(p + kPage, kPage);
  FakeOs::purge(p, 2 * kPage);
  EXPECT_EQ(FakeOs::calls(OsCall::kMap), 1u);
  EXPECT_EQ(FakeOs::calls(OsCall::kPurge), 2u);
  EXPECT_EQ(FakeOs::calls(OsCall::kReserve), 0u);
  EXPECT_EQ(FakeOs::range_of(OsCall::kPurge, 0).start, address_of(p + kPage));
  EXPECT_EQ(FakeOs::range_of(OsCall::kPurge, 1).bytes, 2 * kPage);
  EXPECT_EQ(FakeOs::fallible_calls(), 3u);
}

TEST_F(FakeSystem, KnowsHowMuchIsHeld) {
  char* reserved = static_cast<char*>(FakeOs::reserve(8 * kPage, kPage));
  FakeOs::commit(reserved + 2 * kPage, 2 * kPage);
  char* mapped = static_cast<char*>(FakeOs::map(nullptr, kPage));
  EXPECT_EQ(FakeOs::address_space_bytes(), 9 * kPage);
  EXPECT_EQ(FakeOs::usable_bytes(), 3 * kPage);
  EXPECT_TRUE(FakeOs::is_usable(reserved + 2 * kPage, 2 * kPage));
  EXPECT_FALSE(FakeOs::is_usable(reserved + kPage, 2 * kPage));
  FakeOs::unmap(reserved + 3 * kPage, 2 * kPage);
  EXPECT_EQ(FakeOs::address_space_bytes(), 7 * kPage);
  EXPECT_EQ(FakeOs::usable_bytes(), 2 * kPage);
  EXPECT_TRUE(FakeOs::is_usable(mapped, kPage));
}

TEST_F(FakeSystem, KnowsWhatIsResident) {
  char* p = static_cast<char*>(FakeOs::map(nullptr, 4 * kPage));
  EXPECT_EQ(FakeOs::resident_bytes(p, 4 * kPage), 0u);
  p[kPage] = 1;
  p[3 * kPage] = 1;
  EXPECT_EQ(FakeOs::resident_bytes(p, 4 * kPage), 2 * kPage);
  EXPECT_TRUE(FakeOs::purge(p, 2 * kPage));
  EXPECT_EQ(FakeOs::resident_bytes(p, 4 * kPage), kPage);
}

TEST_F(FakeSystem, FailsTheNthCallOnce) {
  FakeOs::fail_call(2);
  EXPECT_TRUE(FakeOs::failing());
  EXPECT_NE(FakeOs::map(nullptr, kPage), nullptr);
  EXPECT_EQ(FakeOs::map(nullptr, kPage), nullptr);
  EXPECT_FALSE(FakeOs::failing());
  EXPECT_NE(FakeOs::map(nullptr, kPage), nullptr);
  EXPECT_EQ(FakeOs::failures(), 1u);
}

TEST_F(FakeSystem, FailsAllFromTheNthOnUntilToldOtherwise) {
  FakeOs::fail_call(2, true);
  char* p = static_cast<char*>(FakeOs::map(nullptr, kPage));
  EXPECT_FALSE(FakeOs::purge(p, kPage));
  EXPECT_EQ(FakeOs::reserve(kPage, kPage), nullptr);
  EXPECT_EQ(FakeOs::failures(), 2u);
  FakeOs::fail_call(0);
  EXPECT_TRUE(FakeOs::purge(p, kPage));
}

TEST_F(FakeSystem, ARefusedCallChangesNothing) {
  char* reserved = static_cast<char*>(FakeOs::reserve(2 * kPage, kPage));
  char* p = static_cast<char*>(FakeOs::map(nullptr, 2 * kPage));
  memset(p, 'x', 2 * kPage);
  FakeOs::fail_call(1, true);
  EXPECT_FALSE(FakeOs::commit(reserved, kPage));
  EXPECT_FALSE(FakeOs::is_usable(reserved, kPage));
  EXPECT_FALSE(FakeOs::purge(p, kPage));
  EXPECT_FALSE(FakeOs::fresh_pages(p, kPage));
  EXPECT_FALSE(FakeOs::move_pages(p, p + kPage, kPage));
  EXPECT_EQ(p[0], 'x');
  EXPECT_EQ(p[kPage], 'x');
}

TEST_F(FakeSystem, LimitsAddressSpace) {
  FakeOs::settings.address_space_limit = 4 * kPage;
  EXPECT_EQ(FakeOs::address_space_limit(), 4 * kPage);
  char* p = static_cast<char*>(FakeOs::reserve(3 * kPage, kPage));
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(FakeOs::map(nullptr, 2 * kPage), nullptr);
  EXPECT_EQ(FakeOs::failures(), 1u);
  EXPECT_NE(FakeOs::map(nullptr, kPage), nullptr);
  FakeOs::unmap(p, 2 * kPage);
  EXPECT_NE(FakeOs::map(nullptr, 2 * kPage), nullptr);
}

TEST_F(FakeSystem, LimitsReservations) {
  FakeOs::settings.max_reservation_bytes = kGiB;
  EXPECT_EQ(FakeOs::reserve(2 * kGiB, kPage), nullptr);
  EXPECT_NE(FakeOs::reserve(kGiB, kPage), nullptr);
  EXPECT_EQ(FakeOs::address_space_limit(), SIZE_MAX);
}

TEST_F(FakeSystem, LimitsCommit) {
  FakeOs::settings.commit_budget_bytes = 4 * kPage;
  char* p = static_cast<char*>(FakeOs::reserve(kGiB, kPage));
  ASSERT_NE(p, nullptr);
  EXPECT_TRUE(FakeOs::commit(p, 3 * kPage));
  EXPECT_FALSE(FakeOs::commit(p + 3 * kPage, 2 * kPage));
  EXPECT_TRUE(FakeOs::commit(p, 4 * kPage)) << "what is committed is not charged again";
  EXPECT_EQ(FakeOs::map(nullptr, kPage), nullptr);
}

TEST_F(FakeSystem, RefusesByKind) {
  FakeOs::settings.refuse_purge = true;
  FakeOs::settings.refuse_move_pages = true;
  FakeOs::settings.refuse_fresh_pages = true;
  FakeOs::settings.refuse_threads = true;
  char* p = static_cast<char*>(FakeOs::map(nullptr, 2 * kPage));
  EXPECT_FALSE(FakeOs::purge(p, kPage));
  EXPECT_FALSE(FakeOs::move_pages(p, p + kPage, kPage));
  EXPECT_FALSE(FakeOs::fresh_pages(p, kPage));
  EXPECT_FALSE(FakeOs::start_thread([] {}));
}

TEST_F(FakeSystem, SimulatesLargerPages) {
  for (const std::size_t page : {16 * kKiB, 64 * kKiB}) {
    FakeOs::settings.page_bytes = page;
    EXPECT_EQ(FakeOs::page_bytes(), page);
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(address_of(FakeOs::map(nullptr, page)) % page, 0u);
      EXPECT_EQ(address_of(FakeOs::reserve(page, page)) % page, 0u);
    }
    char* p = static_cast<char*>(FakeOs::map(nullptr, 2 * page));
    EXPECT_FALSE(FakeOs::purge(p + kPage, page));
    expect_violation("purge");
    EXPECT_FALSE(FakeOs::purge(p, kPage));
    expect_violation("expected whole pages");
  }
}

TEST_F(FakeSystem, FindsBreachesOfTheContract) {
  char* reserved = static_cast<char*>(FakeOs::reserve(8 * kPage, kPage));
  char* mapped = static_cast<char*>(FakeOs::map(nullptr, 2 * kPage));
  FakeOs::purge(reserved, kPage);
  expect_violation("expected memory that was committed or mapped");
  FakeOs::commit(mapped + 2 * kPage, kPage);
  expect_violation("expected memory that was reserved or mapped");
  FakeOs::commit(reserved + 1, kPage);
  expect_violation("expected whole pages");
  FakeOs::commit(reserved, 0);
  expect_violation("expected whole pages");
  FakeOs::commit(reserved + 7 * kPage, 2 * kPage);
  expect_violation("expected memory that was reserved or mapped");
  mapped[0] = 1;
  FakeOs::commit(mapped, kPage);
  expect_violation("expected memory that is not in use");
  FakeOs::move_pages(mapped, reserved, kPage);
  expect_violation("move_pages");
  FakeOs::commit(reserved, 4 * kPage);
  FakeOs::move_pages(reserved, reserved + kPage, 2 * kPage);
  expect_violation("expected ranges that do not overlap");
  FakeOs::unmap(mapped, 3 * kPage);
  expect_violation("unmap");
  FakeOs::map(nullptr, kPage + 1);
  expect_violation("expected whole pages");
}

TEST_F(FakeSystem, PutsMappingsWhereTold) {
  char* p = static_cast<char*>(FakeOs::map(nullptr, 4 * kPage));
  FakeOs::unmap(p + 2 * kPage, 2 * kPage);
  FakeOs::settings.ignore_hints = true;
  EXPECT_NE(FakeOs::map(p + 2 * kPage, kPage), p + 2 * kPage);
  FakeOs::settings.map_place = p + 2 * kPage;
  EXPECT_EQ(FakeOs::map(nullptr, kPage), p + 2 * kPage);
}

TEST_F(FakeSystem, TimePassesByHandAndBySleeping) {
  EXPECT_EQ(FakeOs::now_ms(), 0u);
  FakeOs::advance_ms(250);
  EXPECT_EQ(FakeOs::now_ms(), 250u);
  std::atomic<std::uint32_t> word{0};
  FakeOs::wait(word, 0, 100);
  EXPECT_EQ(FakeOs::now_ms(), 350u);
  FakeOs::wait(word, 1, 100);
  EXPECT_EQ(FakeOs::now_ms(), 350u);
}

TEST_F(FakeSystem, HelperThreadsWaitToBeRun) {
  static int runs;
  runs = 0;
  EXPECT_FALSE(FakeOs::run_thread());
  EXPECT_TRUE(FakeOs::start_thread([] { ++runs; }));
  EXPECT_EQ(runs, 0);
  FakeOs::start_thread([] { ++runs; });
  expect_violation("expected no other helper thread");
  EXPECT_TRUE(FakeOs::run_thread());
  EXPECT_EQ(runs, 1);
  EXPECT_FALSE(FakeOs::run_thread());
}

TEST_F(FakeSystem, HelperThreadsMayBeReal) {
  static std::atomic<int> runs;
  runs = 0;
  FakeOs::settings.real_threads = true;
  EXPECT_TRUE(FakeOs::start_thread([] { ++runs; }));
  EXPECT_TRUE(FakeOs::start_thread([] { ++runs; }));
  FakeOs::reset();  // waits for them
  EXPECT_EQ(runs.load(), 2);
}

TEST_F(FakeSystem, CallsBackBeforeEachCall) {
  static OsCall last;
  static std::size_t seen;
  seen = 0;
  FakeOs::settings.before_call = [](OsCall call, void*, std::size_t bytes) {
    last = call;
    seen += bytes;
  };
  FakeOs::map(nullptr, 2 * kPage);
  EXPECT_EQ(last, OsCall::kMap);
  EXPECT_EQ(seen, 2 * kPage);
}

TEST_F(FakeSystem, CapturesMessagesAndTheEnd) {
  FakeOs::write_stderr("one\ntwo", 4);
  FakeOs::write_stderr("two", 3);
  EXPECT_STREQ(FakeOs::stderr_text(), "one\ntwo");
  EXPECT_THROW(FakeOs::abort(), FakeOsAbort);
}

TEST_F(FakeSystem, KnowsOneVariable) {
  char buffer[16];
  EXPECT_EQ(FakeOs::environment("CARREL_OPTIONS", buffer, sizeof buffer), 0u);
  FakeOs::set_environment("CARREL_OPTIONS", "verbose=1");
  EXPECT_EQ(FakeOs::environment("CARREL_OPTIONS", buffer, sizeof buffer), 9u);
  EXPECT_STREQ(buffer, "verbose=1");
  EXPECT_EQ(FakeOs::environment("CARREL", buffer, sizeof buffer), 0u);
  EXPECT_EQ(FakeOs::environment("CARREL_OPTIONS", buffer, 9), 0u);
}

TEST_F(FakeSystem, ResetGivesEverythingBack) {
  FakeOs::settings.page_bytes = 64 * kKiB;
  FakeOs::map(nullptr, 64 * kKiB);
  FakeOs::advance_ms(5);
  FakeOs::write_stderr("text", 4);
  FakeOs::fail_call(1, true);
  FakeOs::reset();
  EXPECT_EQ(FakeOs::address_space_bytes(), 0u);
  EXPECT_EQ(FakeOs::page_bytes(), kPage);
  EXPECT_EQ(FakeOs::now_ms(), 0u);
  EXPECT_STREQ(FakeOs::stderr_text(), "");
  EXPECT_FALSE(FakeOs::failing());
  EXPECT_EQ(FakeOs::calls(OsCall::kMap), 0u);
}

}  // namespace
}  // namespace carrel::core
