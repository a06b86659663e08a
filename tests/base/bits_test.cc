// base/bits.h: rounding and logarithms, at their edges.
#include "base/bits.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace carrel::core {
namespace {

TEST(Bits, AlignUpRoundsToTheNextMultiple) {
  for (std::size_t unit = 1; unit <= 4096; unit *= 2) {
    EXPECT_EQ(align_up(0, unit), 0u);
    EXPECT_EQ(align_up(unit, unit), unit);
    EXPECT_EQ(align_up(1, unit), unit);
    EXPECT_EQ(align_up(unit + 1, unit), unit == 1 ? 2 : 2 * unit);
    EXPECT_EQ(align_up(3 * unit - (unit == 1 ? 0 : 1), unit), 3 * unit);
  }
}

TEST(Bits, AlignDownRoundsToTheLastMultiple) {
  for (std::size_t unit = 1; unit <= 4096; unit *= 2) {
    EXPECT_EQ(align_down(0, unit), 0u);
    EXPECT_EQ(align_down(unit - 1, unit), 0u);
    EXPECT_EQ(align_down(unit, unit), unit);
    EXPECT_EQ(align_down(2 * unit - 1, unit), unit);
  }
  EXPECT_EQ(align_down(SIZE_MAX, 2), SIZE_MAX - 1);
}

TEST(Bits, AlignmentAgreesWithDivision) {
  for (std::size_t value = 0; value < 1000; ++value) {
    for (std::size_t unit = 1; unit <= 256; unit *= 2) {
      EXPECT_EQ(align_down(value, unit), value / unit * unit);
      EXPECT_EQ(align_up(value, unit), (value + unit - 1) / unit * unit);
    }
  }
}

TEST(Bits, PowersOfTwo) {
  EXPECT_FALSE(is_power_of_two(0));
  for (unsigned bit = 0; bit < 64; ++bit) {
    const std::size_t power = std::size_t{1} << bit;
    EXPECT_TRUE(is_power_of_two(power));
    if (bit >= 2) {
      EXPECT_FALSE(is_power_of_two(power - 1));
    }
    if (bit >= 1) {
      EXPECT_FALSE(is_power_of_two(power + 1));
    }
  }
}

TEST(Bits, FloorLog2) {
  for (unsigned bit = 0; bit < 64; ++bit) {
    const std::size_t power = std::size_t{1} << bit;
    EXPECT_EQ(floor_log2(power), bit);
    EXPECT_EQ(floor_log2(power + (power - 1)), bit);
  }
}

TEST(Bits, AddressesRoundTrip) {
  int object = 0;
  EXPECT_EQ(at_address<int>(address_of(&object)), &object);
  EXPECT_EQ(address_of(nullptr), 0u);
}

}  // namespace
}  // namespace carrel::core
