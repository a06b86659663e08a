// base/relaxed.h: it stands in for a plain value.
#include "base/relaxed.h"

#include <gtest/gtest.h>

#include <thread>

namespace carrel::core {
namespace {

enum class Colour : unsigned char { kRed, kBlue };

TEST(Relaxed, IsReadAndWrittenLikeItsValue) {
  Relaxed<int> number = 5;
  EXPECT_EQ(number, 5);
  number = 7;
  EXPECT_EQ(number + 1, 8);
  Relaxed<int> other;
  EXPECT_EQ(other, 0);
  other = number;
  EXPECT_EQ(other, 7);
}

TEST(Relaxed, HoldsEnumerationsAndPointers) {
  Relaxed<Colour> colour = Colour::kRed;
  colour = Colour::kBlue;
  EXPECT_TRUE(colour == Colour::kBlue);
  struct Pair {
    int first;
  } pair{3};
  Relaxed<Pair*> pointer = &pair;
  EXPECT_EQ(pointer->first, 3);
}

TEST(Relaxed, TakesNoMoreRoomThanItsValue) {
  EXPECT_EQ(sizeof(Relaxed<unsigned char>), 1u);
  EXPECT_EQ(sizeof(Relaxed<void*>), sizeof(void*));
}

TEST(Relaxed, MayBeReadWhileItIsWritten) {
  Relaxed<long> value = 0;
  std::thread writer([&] {
    for (long i = 1; i <= 100'000; ++i) value = i;
  });
  long last = 0;
  while (last < 100'000) {
    const long now = value;
    ASSERT_GE(now, last);
    last = now;
  }
  writer.join();
}

}  // namespace
}  // namespace carrel::core
