// The fixture of every test on the simulated system: a fresh one for each test, and no
// test passes that broke the system's contract.
#pragma once

#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "os/fake/fake_os.h"

namespace carrel::core {

class FakeOsTest : public ::testing::Test {
 protected:
  FakeOsTest() { FakeOs::reset(); }
  ~FakeOsTest() override {
    EXPECT_STREQ(FakeOs::violations(), "");
    FakeOs::reset();
  }
};

/// The line that a report of misuse writes.
inline std::string report_line(const char* code, const char* text, const void* pointer) {
  std::ostringstream line;
  line << "carrel: error " << code << ": " << text << ": pointer 0x" << std::hex
       << reinterpret_cast<std::uintptr_t>(pointer) << "\n";
  return line.str();
}

/// Runs `misuse` and expects the report with this code about this pointer, and an abort.
template <class Misuse>
void expect_report(const char* code, const void* pointer, Misuse misuse) {
  FakeOs::clear_stderr();
  EXPECT_THROW(misuse(), FakeOsAbort) << "no report; expected " << code;
  const std::string text = FakeOs::stderr_text();
  std::ostringstream end;
  end << ": pointer 0x" << std::hex << reinterpret_cast<std::uintptr_t>(pointer) << "\n";
  EXPECT_EQ(text.rfind(std::string("carrel: error ") + code + ": ", 0), 0u) << text;
  EXPECT_TRUE(text.size() > end.str().size() &&
              text.compare(text.size() - end.str().size(), std::string::npos, end.str()) == 0)
      << text << "expected it to end with " << end.str();
  EXPECT_EQ(text.find('\n'), text.size() - 1) << "expected one line: " << text;
}

}  // namespace carrel::core
