// base/report.h: the exact line of each report, and that each ends the process.
#include "base/report.h"

#include "fake_os_test.h"

namespace carrel::core {
namespace {

using TestReport = Report<FakeOs>;

class ReportTest : public FakeOsTest {
 protected:
  const void* pointer_ = reinterpret_cast<const void*>(std::uintptr_t{0x7f0012345670});
};

TEST_F(ReportTest, DoubleFree) {
  EXPECT_THROW(TestReport::double_free(pointer_), FakeOsAbort);
  EXPECT_EQ(FakeOs::stderr_text(),
            report_line("double-free", "this block is already free", pointer_));
}

TEST_F(ReportTest, InvalidFree) {
  EXPECT_THROW(TestReport::invalid_free(pointer_), FakeOsAbort);
  EXPECT_EQ(FakeOs::stderr_text(),
            report_line("invalid-free",
                        "expected a block of this heap, and this address never was one", pointer_));
}

TEST_F(ReportTest, InteriorPointer) {
  EXPECT_THROW(TestReport::interior_pointer(pointer_), FakeOsAbort);
  EXPECT_EQ(FakeOs::stderr_text(),
            report_line("interior-pointer", "expected the first byte of a block", pointer_));
}

TEST_F(ReportTest, InternalError) {
  EXPECT_THROW(TestReport::internal_error("spans are in order"), FakeOsAbort);
  EXPECT_STREQ(FakeOs::stderr_text(), "carrel: internal error: spans are in order\n");
}

TEST_F(ReportTest, CheckReportsOnlyWhatDoesNotHold) {
  TestReport::check(true, "never seen");
  EXPECT_STREQ(FakeOs::stderr_text(), "");
  EXPECT_THROW(TestReport::check(false, "seen"), FakeOsAbort);
  EXPECT_STREQ(FakeOs::stderr_text(), "carrel: internal error: seen\n");
}

TEST_F(ReportTest, ALongRuleIsCutOffButEndsTheProcess) {
  const std::string rule(1000, 'r');
  EXPECT_THROW(TestReport::internal_error(rule.c_str()), FakeOsAbort);
  EXPECT_LT(std::string(FakeOs::stderr_text()).size(), 256u);
}

}  // namespace
}  // namespace carrel::core
