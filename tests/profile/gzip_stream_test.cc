// profile/gzip_stream.h: the checksum and the framing. That gzip reads it, and what it holds, is
// tested in tests/api/check_heap_profile.py.
#include "profile/gzip_stream.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace carrel::core {
namespace {

struct Append {
  std::string* to;
  bool operator()(const unsigned char* data, std::size_t size) const {
    to->append(reinterpret_cast<const char*>(data), size);
    return true;
  }
};

TEST(GzipStream, ChecksumIsTheStandardOne) {
  const auto* text = reinterpret_cast<const unsigned char*>("123456789");
  EXPECT_EQ(crc32(0, text, 9), 0xCBF43926u);
  EXPECT_EQ(crc32(crc32(0, text, 4), text + 4, 5), 0xCBF43926u);
}

TEST(GzipStream, CutsIntoStoredBlocks) {
  std::string out;
  auto stream = std::make_unique<GzipStream<Append>>(Append{&out});
  const std::string data(100'000, 'x');
  stream->write(data.data(), data.size());
  EXPECT_TRUE(stream->finish());
  constexpr std::size_t kHeader = 10;
  constexpr std::size_t kTrailer = 8;
  ASSERT_EQ(out.size(), kHeader + 2 * 5 + data.size() + kTrailer);
  EXPECT_EQ(out[kHeader], 0);               // not the last block
  EXPECT_EQ(out[kHeader + 5 + 65'535], 1);  // the last
  EXPECT_EQ(static_cast<unsigned char>(out[out.size() - 4]), data.size() & 0xFF);
}

TEST(GzipStream, SaysWhenItCannotBeWritten) {
  struct Fail {
    bool operator()(const unsigned char*, std::size_t) const { return false; }
  };
  auto stream = std::make_unique<GzipStream<Fail>>(Fail{});
  stream->write("x", 1);
  EXPECT_FALSE(stream->finish());
}

}  // namespace
}  // namespace carrel::core
