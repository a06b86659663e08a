// base/text.h: views and buffers, above all at the buffer's end.
#include "base/text.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace carrel::core {
namespace {

TEST(TextView, TakesLengthFromTheTerminator) {
  EXPECT_EQ(TextView("decay").size, 5u);
  EXPECT_EQ(TextView("").size, 0u);
  EXPECT_EQ(TextView().size, 0u);
}

TEST(TextView, ComparesContentsNotAddresses) {
  const char text[] = "decay_ms=500";
  EXPECT_TRUE(TextView(text, 8) == TextView("decay_ms"));
  EXPECT_FALSE(TextView(text, 7) == TextView("decay_ms"));
  EXPECT_FALSE(TextView("decay_mz") == TextView("decay_ms"));
  EXPECT_TRUE(TextView(text, 0) == TextView());
}

template <std::size_t kCapacity>
std::string contents(const TextBuffer<kCapacity>& buffer) {
  EXPECT_EQ(std::strlen(buffer.data()), buffer.size());
  return std::string(buffer.data(), buffer.size());
}

TEST(TextBuffer, StartsAsTheEmptyString) { EXPECT_EQ(contents(TextBuffer<8>()), ""); }

TEST(TextBuffer, Appends) {
  TextBuffer<64> buffer;
  buffer << "size " << std::uint64_t{42} << TextView(" bytes!", 6);
  EXPECT_EQ(contents(buffer), "size 42 bytes");
}

TEST(TextBuffer, WritesNumbersAtTheirLimits) {
  TextBuffer<64> buffer;
  buffer << std::uint64_t{0} << " " << UINT64_MAX;
  EXPECT_EQ(contents(buffer), "0 18446744073709551615");
}

TEST(TextBuffer, WritesPointersInHexadecimal) {
  TextBuffer<64> buffer;
  buffer << static_cast<const void*>(nullptr) << " "
         << reinterpret_cast<const void*>(std::uintptr_t{0xdeadbeef12345678});
  EXPECT_EQ(contents(buffer), "0x0 0xdeadbeef12345678");
}

TEST(TextBuffer, CutsOffWhatDoesNotFit) {
  TextBuffer<8> buffer;
  buffer << "0123"
         << "456789";
  EXPECT_EQ(contents(buffer), "0123456");
  buffer << "more" << std::uint64_t{99} << static_cast<const void*>(&buffer);
  EXPECT_EQ(contents(buffer), "0123456");
}

TEST(TextBuffer, CutsOffNumbersToo) {
  TextBuffer<4> buffer;
  buffer << std::uint64_t{12345};
  EXPECT_EQ(contents(buffer), "123");
}

TEST(TextBuffer, NeverWritesBeyondItsEnd) {
  struct {
    TextBuffer<5> buffer;
    char guard[16];
  } area{};
  std::memset(area.guard, 'g', sizeof area.guard);
  for (int i = 0; i < 10; ++i) area.buffer << "xyz" << UINT64_MAX;
  for (const char byte : area.guard) EXPECT_EQ(byte, 'g');
  EXPECT_EQ(contents(area.buffer), "xyz1");
}

TEST(TextBuffer, IsReusableAfterClear) {
  TextBuffer<8> buffer;
  buffer << "0123456789";
  buffer.clear();
  EXPECT_EQ(buffer.size(), 0u);
  buffer << "ab";
  EXPECT_EQ(contents(buffer), "ab");
}

}  // namespace
}  // namespace carrel::core
