// Starts the GoogleTest suites of the API, after proof that malloc is carrel's.
//
// Holds no tests.
#include <gtest/gtest.h>

#include "support/override.h"

int main(int argc, char** argv) {
  require_override();
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
