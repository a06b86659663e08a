// The gauge's log as it is read: entries of several processes, exec, and logs that end early.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "advise/call_sites.h"

namespace carrel::tools {
namespace {

class CallLogTest : public testing::Test {
 protected:
  void add(gauge::Entry kind, std::uint64_t process, const std::vector<std::uint64_t>& rest) {
    std::uint64_t at = log_->used;
    log_->used = at + 1 + rest.size();
    log_->words[at++] = static_cast<std::uint64_t>(kind) | (1 + rest.size()) << 8 | process << 32;
    for (const std::uint64_t word : rest) log_->words[at++] = word;
  }

  std::unique_ptr<gauge::CallLog> log_ = std::make_unique<gauge::CallLog>();
};

TEST_F(CallLogTest, StacksOfAProcessAddUpUntilItBecomesAnotherProgram) {
  add(gauge::Entry::kProgram, 7, {});
  add(gauge::Entry::kStack, 7, {100, 0x10, 0x20});
  add(gauge::Entry::kStack, 8, {30, 0x10, 0x20});
  add(gauge::Entry::kStack, 7, {50, 0x10, 0x20});
  add(gauge::Entry::kProgram, 7, {});
  add(gauge::Entry::kStack, 7, {1, 0x10, 0x20});
  const CallSites sites = read_call_log(*log_);
  EXPECT_EQ(sites.stacks, 4u);
  EXPECT_EQ(sites.ns, 181u);
  ASSERT_EQ(sites.programs.size(), 3u);
  EXPECT_EQ(sites.programs[0].total_ns, 150u) << "the most time first";
  EXPECT_EQ(sites.programs[0].ns.at({0x10, 0x20}), 150u);
  EXPECT_EQ(sites.programs[1].total_ns, 30u);
  EXPECT_EQ(sites.programs[2].total_ns, 1u);
}

TEST_F(CallLogTest, ReadingEndsAtAnEntryThatWasNotFinished) {
  add(gauge::Entry::kStack, 7, {100, 0x10});
  log_->used += 3;  // claimed by a process that was killed
  add(gauge::Entry::kStack, 7, {100, 0x10});
  EXPECT_EQ(read_call_log(*log_).ns, 100u);
}

TEST_F(CallLogTest, LengthsAreNotTrusted) {
  add(gauge::Entry::kMappings, 7, {1000, 0x41});  // says more text than it has
  add(gauge::Entry::kStack, 7, {100});            // no frames
  log_->words[log_->used] = static_cast<std::uint64_t>(gauge::Entry::kStack) | 0xFFFFFF << 8;
  log_->used += 1;
  const CallSites sites = read_call_log(*log_);
  EXPECT_EQ(sites.ns, 0u);
  EXPECT_TRUE(sites.programs.empty());
  log_->used = ~std::uint64_t{0} / 2;  // more than there is
  EXPECT_EQ(read_call_log(*log_).stacks, 0u);
}

}  // namespace
}  // namespace carrel::tools
