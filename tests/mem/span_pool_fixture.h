// A pool of spans on the simulated system, and what its tests do to it all the time.
#pragma once

#include <cstring>

#include "fake_os_test.h"
#include "mem/lending.h"
#include "pool_walker.h"

namespace carrel::core {

inline constexpr std::size_t kPoolWindow = 64 * kGiB;

class SpanPoolFixture : public FakeOsTest {
 protected:
  bool initialize(std::size_t window = kPoolWindow) { return map_.initialize(window); }

  Span* allocate(std::uint32_t count, std::uint32_t align = 1) {
    return pool_.allocate(count, align, SpanState::kLarge);
  }
  char* start_of(const Span* span) const { return map_.address(span->first); }
  static std::size_t bytes_of(const Span* span) {
    return std::size_t{span->count} << kGranuleShift;
  }

  /// Writes to every page.
  void touch(const Span* span, char value = 1) {
    for (std::size_t i = 0; i < bytes_of(span); i += 4096) start_of(span)[i] = value;
  }
  std::size_t resident(const Span* span) const {
    return FakeOs::resident_bytes(start_of(span), bytes_of(span));
  }
  WalkTotals walk() { return walk_pool(map_, pool_); }

  PageMap<FakeOs> map_;
  MetadataArena<FakeOs> metadata_;
  SpanPool<FakeOs> pool_{map_, metadata_};
};

}  // namespace carrel::core
