// What the stress test knows about each block it holds: size, alignment, contents. Every
// block carries a pattern made from its own number, so that two blocks that overlap, a
// block handed out twice, or bytes lost in a resize show at the next check.
//
// Knows nothing of threads; a block belongs to whoever holds its Shadow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace stress {

/// A small generator (splitmix64), one per thread: reproducible from the seed.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  /// 0 to limit - 1.
  std::uint64_t below(std::uint64_t limit) { return next() % limit; }
  bool one_in(std::uint64_t chance) { return below(chance) == 0; }

 private:
  std::uint64_t state_;
};

struct Shadow {
  unsigned char* bytes = nullptr;
  std::size_t size = 0;
  std::size_t alignment = 1;
  std::uint64_t tag = 0;
};

/// Bytes at either end of a large block that are always written and checked; between them
/// a line per page is.
inline constexpr std::size_t kFullCheckBytes = 16 << 10;
inline constexpr std::size_t kStrideBytes = 4096;

inline std::uint64_t word_at(std::uint64_t tag, std::size_t offset) {
  return (tag ^ offset) * 0xD6E8FEB86659FD93ull;
}

/// Calls `visit(offset, size)` for each stretch of a block that carries the pattern: all of
/// it when small, both ends and a few bytes of every page when large. Stretches begin at
/// multiples of 8.
template <class Visit>
void for_each_stretch(std::size_t size, Visit visit) {
  if (size <= 2 * kFullCheckBytes) {
    visit(std::size_t{0}, size);
    return;
  }
  visit(std::size_t{0}, kFullCheckBytes);
  for (std::size_t offset = kFullCheckBytes; offset + kFullCheckBytes < size;
       offset += kStrideBytes) {
    visit(offset, std::size_t{8});
  }
  const std::size_t tail = (size - kFullCheckBytes) & ~std::size_t{7};
  visit(tail, size - tail);
}

inline void fill(const Shadow& shadow) {
  for_each_stretch(shadow.size, [&](std::size_t start, std::size_t length) {
    for (std::size_t i = 0; i < length; i += 8) {
      const std::uint64_t word = word_at(shadow.tag, start + i);
      std::memcpy(shadow.bytes + start + i, &word, length - i < 8 ? length - i : 8);
    }
  });
}

/// The first offset below `limit` that lost its pattern, or `limit`. Looks at what fill()
/// wrote for a block of shadow.size.
inline std::size_t first_damage(const Shadow& shadow, const unsigned char* bytes,
                                std::size_t limit) {
  std::size_t damage = limit;
  for_each_stretch(shadow.size, [&](std::size_t start, std::size_t length) {
    for (std::size_t i = 0; i < length && start + i < limit && damage == limit; i += 8) {
      const std::uint64_t word = word_at(shadow.tag, start + i);
      std::size_t part = length - i < 8 ? length - i : 8;
      if (start + i + part > limit) part = limit - start - i;
      if (std::memcmp(bytes + start + i, &word, part) != 0) damage = start + i;
    }
  });
  return damage;
}

}  // namespace stress
