// A gzip file without compression: stored blocks, which every reader of gzip takes.
//
// Output goes to put(data, size), which returns false when it cannot be written; then the rest is
// dropped, and finish() says so. Some 64 KiB large: not for a stack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace carrel::core {

/// The checksum that gzip wants, continued from `crc`; 0 at the beginning.
constexpr std::uint32_t crc32(std::uint32_t crc, const unsigned char* data, std::size_t size) {
  crc = ~crc;
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u)));
  }
  return ~crc;
}

template <class Put>
class GzipStream {
 public:
  explicit GzipStream(Put put) : put_(put) {
    constexpr unsigned char kHeader[10] = {0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255};
    emit(kHeader, sizeof kHeader);
  }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

  void write(const void* data, std::size_t size) {
    const auto* from = static_cast<const unsigned char*>(data);
    while (size != 0) {
      if (filled_ == kBlockBytes) flush(false);
      const std::size_t room = kBlockBytes - filled_;
      const std::size_t piece = size < room ? size : room;
      memcpy(block_ + filled_, from, piece);
      filled_ += piece;
      from += piece;
      size -= piece;
    }
  }

  /// True if all was written.
  bool finish() {
    flush(true);
    const std::uint32_t words[2] = {crc_, length_};
    unsigned char trailer[8];
    for (std::size_t i = 0; i < sizeof trailer; ++i) {
      trailer[i] = static_cast<unsigned char>(words[i / 4] >> (i % 4 * 8));
    }
    emit(trailer, sizeof trailer);
    return good_;
  }

 private:
  static constexpr std::size_t kBlockBytes = 65'535;

  void emit(const unsigned char* data, std::size_t size) { good_ = good_ && put_(data, size); }

  void flush(bool last) {
    crc_ = crc32(crc_, block_, filled_);
    length_ += static_cast<std::uint32_t>(filled_);
    const std::size_t inverse = ~filled_;
    const unsigned char head[5] = {
        static_cast<unsigned char>(last ? 1 : 0), static_cast<unsigned char>(filled_),
        static_cast<unsigned char>(filled_ >> 8), static_cast<unsigned char>(inverse),
        static_cast<unsigned char>(inverse >> 8)};
    emit(head, sizeof head);
    emit(block_, filled_);
    filled_ = 0;
  }

  Put put_;
  std::uint32_t crc_ = 0;
  std::uint32_t length_ = 0;
  std::size_t filled_ = 0;
  bool good_ = true;
  unsigned char block_[kBlockBytes];
};

}  // namespace carrel::core
