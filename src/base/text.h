// Text built in a fixed buffer, for messages that must be written without allocating.
//
// What does not fit is cut off; the buffer is always terminated.
#pragma once

#include <cstddef>
#include <cstdint>

namespace carrel::core {

/// A string of known length, as the option parser and the reports pass it around.
struct TextView {
  const char* data = nullptr;
  std::size_t size = 0;

  constexpr TextView() = default;
  constexpr TextView(const char* text, std::size_t length) : data(text), size(length) {}
  constexpr TextView(const char* text)  // NOLINT(google-explicit-constructor)
      : data(text), size(length_of(text)) {}

  static constexpr std::size_t length_of(const char* text) {
    std::size_t length = 0;
    while (text[length] != '\0') ++length;
    return length;
  }
  constexpr bool operator==(const TextView& other) const {
    if (size != other.size) return false;
    for (std::size_t i = 0; i < size; ++i) {
      if (data[i] != other.data[i]) return false;
    }
    return true;
  }
};

template <std::size_t kCapacity>
class TextBuffer {
 public:
  TextBuffer& operator<<(TextView text) {
    for (std::size_t i = 0; i < text.size && size_ + 1 < kCapacity; ++i) {
      chars_[size_++] = text.data[i];
    }
    chars_[size_] = '\0';
    return *this;
  }
  TextBuffer& operator<<(const char* text) { return *this << TextView(text); }
  TextBuffer& operator<<(std::uint64_t number) { return digits(number, 10); }
  TextBuffer& operator<<(const void* pointer) {
    return (*this << "0x").digits(reinterpret_cast<std::uintptr_t>(pointer), 16);
  }

  const char* data() const { return chars_; }
  std::size_t size() const { return size_; }
  void clear() { size_ = 0; }

 private:
  TextBuffer& digits(std::uint64_t number, unsigned radix) {
    char reversed[20];
    std::size_t count = 0;
    do {
      reversed[count++] = "0123456789abcdef"[number % radix];
      number /= radix;
    } while (number != 0);
    while (count > 0) *this << TextView(&reversed[--count], 1);
    return *this;
  }

  char chars_[kCapacity] = {};
  std::size_t size_ = 0;
};

}  // namespace carrel::core
