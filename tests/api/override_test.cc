// Which library serves which name: every entry point is carrel's, and the string functions
// that carrel must leave alone are the C library's.
//
// Says nothing of what the functions do.
#include <gtest/gtest.h>

#include "support/override.h"

namespace {

class OwnSymbol : public ::testing::TestWithParam<const char*> {};

TEST_P(OwnSymbol, ResolvesIntoCarrel) {
  const char* path = "nowhere";
  void* module = module_of_symbol(GetParam(), &path);
  ASSERT_NE(module, nullptr) << GetParam() << " is not defined";
  EXPECT_EQ(module, module_of_carrel()) << GetParam() << " resolves into " << path;
}

INSTANTIATE_TEST_SUITE_P(C, OwnSymbol,
                         ::testing::Values("malloc", "free", "calloc", "realloc", "reallocarray",
                                           "memalign", "posix_memalign", "aligned_alloc", "valloc",
                                           "pvalloc", "malloc_usable_size", "free_sized",
                                           "free_aligned_sized", "malloc_trim", "malloc_stats",
                                           "mallinfo", "mallinfo2", "malloc_info", "mallopt"));

// operator new and delete: plain and array; nothrow; aligned; aligned nothrow; sized.
INSTANTIATE_TEST_SUITE_P(
    Cxx, OwnSymbol,
    ::testing::Values("_Znwm", "_Znam", "_ZnwmRKSt9nothrow_t", "_ZnamRKSt9nothrow_t",
                      "_ZnwmSt11align_val_t", "_ZnamSt11align_val_t",
                      "_ZnwmSt11align_val_tRKSt9nothrow_t", "_ZnamSt11align_val_tRKSt9nothrow_t",
                      "_ZdlPv", "_ZdaPv", "_ZdlPvm", "_ZdaPvm", "_ZdlPvRKSt9nothrow_t",
                      "_ZdaPvRKSt9nothrow_t", "_ZdlPvSt11align_val_t", "_ZdaPvSt11align_val_t",
                      "_ZdlPvmSt11align_val_t", "_ZdaPvmSt11align_val_t",
                      "_ZdlPvSt11align_val_tRKSt9nothrow_t",
                      "_ZdaPvSt11align_val_tRKSt9nothrow_t"));

INSTANTIATE_TEST_SUITE_P(Prefixed, OwnSymbol,
                         ::testing::Values("carrel_malloc", "carrel_calloc", "carrel_aligned_alloc",
                                           "carrel_free", "carrel_free_sized",
                                           "carrel_free_sized_aligned", "carrel_realloc",
                                           "carrel_realloc_sized_aligned", "carrel_usable_size",
                                           "carrel_good_size", "carrel_purge", "carrel_version",
                                           "carrel_set_option"));

class ForeignSymbol : public ::testing::TestWithParam<const char*> {};

TEST_P(ForeignSymbol, StaysTheCLibrarys) {
  const char* path = "nowhere";
  void* module = module_of_symbol(GetParam(), &path);
  ASSERT_NE(module, nullptr) << GetParam() << " is not defined";
  EXPECT_NE(module, module_of_carrel()) << GetParam() << " must not be exported by carrel";
}

INSTANTIATE_TEST_SUITE_P(Strings, ForeignSymbol,
                         ::testing::Values("strdup", "strndup", "realpath", "asprintf", "getline"));

// The C library's own allocations come from carrel, without carrel exporting the functions.
TEST(Override, CLibraryAllocatesThroughCarrel) {
  char* copy = strdup("a string of the C library");
  ASSERT_NE(copy, nullptr);
  EXPECT_EQ(carrel_usable_size(copy), carrel_good_size(strlen(copy) + 1));
  free(copy);
  char* path = realpath("/", nullptr);
  ASSERT_NE(path, nullptr);
  EXPECT_GE(carrel_usable_size(path), 2u);
  free(path);
}

}  // namespace
