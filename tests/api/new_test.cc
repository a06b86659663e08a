// operator new and delete in every form, the new-handler loop, and std::bad_alloc.
//
// Calls the operators as functions: new-expressions may be elided by the compiler. A handler
// that frees memory needs a real limit: process/new_handler_limit.cc.
#include <gtest/gtest.h>

#include <new>
#include <set>
#include <stdexcept>

#include "support/blocks.h"
#include "support/override.h"

namespace {

using namespace api_test;

std::align_val_t aligned(std::size_t alignment) { return std::align_val_t{alignment}; }

/// Restores the new-handler that was installed before a test.
class NewHandler : public ::testing::Test {
 protected:
  void TearDown() override { std::set_new_handler(nullptr); }
};

TEST(New, EveryFormAllocatesAndIsDeletedByItsPartner) {
  for (const std::size_t size : interesting_sizes(kMiB)) {
    void* block = ::operator new(size);
    ASSERT_NE(block, nullptr);
    EXPECT_TRUE(is_aligned(block, 16));
    std::memset(block, 1, size);
    ::operator delete(block);
    ::operator delete(::operator new(size), size);
    ::operator delete(::operator new(size, std::nothrow), std::nothrow);
    ::operator delete[](::operator new[](size));
    ::operator delete[](::operator new[](size), size);
    ::operator delete[](::operator new[](size, std::nothrow), std::nothrow);
  }
}

TEST(New, AlignedFormsAlign) {
  for (int shift = 0; shift <= 22; ++shift) {
    const std::size_t alignment = std::size_t{1} << shift;
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, std::size_t{100}, alignment, alignment + 1, 3 * kMiB}) {
      void* blocks[] = {::operator new(size, aligned(alignment)),
                        ::operator new(size, aligned(alignment)),
                        ::operator new(size, aligned(alignment), std::nothrow),
                        ::operator new[](size, aligned(alignment)),
                        ::operator new[](size, aligned(alignment)),
                        ::operator new[](size, aligned(alignment), std::nothrow)};
      for (void* block : blocks) {
        ASSERT_NE(block, nullptr);
        EXPECT_TRUE(is_aligned(block, alignment)) << alignment << ", " << size;
        std::memset(block, 1, size);
      }
      ::operator delete(blocks[0], aligned(alignment));
      ::operator delete(blocks[1], size, aligned(alignment));
      ::operator delete(blocks[2], aligned(alignment), std::nothrow);
      ::operator delete[](blocks[3], aligned(alignment));
      ::operator delete[](blocks[4], size, aligned(alignment));
      ::operator delete[](blocks[5], aligned(alignment), std::nothrow);
    }
  }
}

TEST(New, ZeroBytesAreUniqueBlocks) {
  std::set<void*> blocks;
  for (int i = 0; i < 1000; ++i) {
    blocks.insert(::operator new(0));
    blocks.insert(::operator new[](0));
    blocks.insert(::operator new(0, std::nothrow));
  }
  EXPECT_EQ(blocks.size(), 3000u);
  EXPECT_EQ(blocks.count(nullptr), 0u);
  for (void* block : blocks) ::operator delete(block);
}

TEST(Delete, IgnoresNullInEveryForm) {
  ::operator delete(nullptr);
  ::operator delete[](nullptr);
  ::operator delete (nullptr, std::size_t{8});
  ::operator delete[](nullptr, std::size_t{8});
  ::operator delete(nullptr, std::nothrow);
  ::operator delete[](nullptr, std::nothrow);
  ::operator delete(nullptr, aligned(64));
  ::operator delete[](nullptr, aligned(64));
  ::operator delete(nullptr, 8, aligned(64));
  ::operator delete[](nullptr, 8, aligned(64));
  ::operator delete(nullptr, aligned(64), std::nothrow);
  ::operator delete[](nullptr, aligned(64), std::nothrow);
}

TEST(New, ThrowsBadAllocOrReturnsNull) {
  for (const std::size_t impossible : impossible_sizes()) {
    const std::size_t size = opaque_size(impossible);
    EXPECT_THROW(::operator delete(::operator new(size)), std::bad_alloc);
    EXPECT_THROW(::operator delete[](::operator new[](size)), std::bad_alloc);
    EXPECT_THROW(::operator delete(::operator new(size, aligned(64)), aligned(64)), std::bad_alloc);
    EXPECT_THROW(::operator delete[](::operator new[](size, aligned(64)), aligned(64)),
                 std::bad_alloc);
    EXPECT_EQ(::operator new(size, std::nothrow), nullptr);
    EXPECT_EQ(::operator new[](size, std::nothrow), nullptr);
    EXPECT_EQ(::operator new(size, aligned(64), std::nothrow), nullptr);
    EXPECT_EQ(::operator new[](size, aligned(64), std::nothrow), nullptr);
  }
}

TEST(New, BadAllocIsTheStandardTypeAndNothingElse) {
  try {
    ::operator delete(::operator new(opaque_size(SIZE_MAX / 2 + 1)));
    FAIL() << "must throw";
  } catch (const std::exception& error) {
    EXPECT_NE(dynamic_cast<const std::bad_alloc*>(&error), nullptr);
    EXPECT_EQ(dynamic_cast<const std::bad_array_new_length*>(&error), nullptr);
    EXPECT_GT(std::strlen(error.what()), 0u);
  }
}

// The functions a program may call without exceptions in flight being disturbed.
TEST(New, MayThrowWhileUnwinding) {
  struct AllocatesInDestructor {
    ~AllocatesInDestructor() {
      try {
        ::operator delete(::operator new(opaque_size(SIZE_MAX)));
        ADD_FAILURE() << "must throw";
      } catch (const std::bad_alloc&) {
      }
      ::operator delete(::operator new(1000));
    }
  };
  EXPECT_THROW(
      {
        AllocatesInDestructor guard;
        throw std::runtime_error("outer");
      },
      std::runtime_error);
}

int handler_calls;

void count_then_give_up() {
  if (++handler_calls == 5) std::set_new_handler(nullptr);
}

TEST_F(NewHandler, IsCalledUntilItIsTakenAway) {
  const auto calls_of = [](auto&& allocate) {
    handler_calls = 0;
    std::set_new_handler(count_then_give_up);
    allocate();
    return handler_calls;
  };
  const std::size_t size = opaque_size(PTRDIFF_MAX);
  const auto throwing = [](auto&& allocate) {
    return [=] { EXPECT_THROW(allocate(), std::bad_alloc); };
  };
  EXPECT_EQ(calls_of(throwing([=] { ::operator delete(::operator new(size)); })), 5);
  EXPECT_EQ(calls_of(throwing([=] { ::operator delete[](::operator new[](size)); })), 5);
  EXPECT_EQ(calls_of(throwing([=] { ::operator delete(::operator new(size, aligned(128))); })), 5);
  EXPECT_EQ(calls_of(throwing([=] { ::operator delete(::operator new[](size, aligned(128))); })),
            5);
  EXPECT_EQ(calls_of([=] { EXPECT_EQ(::operator new(size, std::nothrow), nullptr); }), 5);
  EXPECT_EQ(calls_of([=] { EXPECT_EQ(::operator new[](size, std::nothrow), nullptr); }), 5);
  EXPECT_EQ(calls_of([=] { EXPECT_EQ(::operator new(size, aligned(128), std::nothrow), nullptr); }),
            5);
}

TEST_F(NewHandler, IsNotCalledByMalloc) {
  handler_calls = 0;
  std::set_new_handler(count_then_give_up);
  EXPECT_EQ(malloc(opaque_size(SIZE_MAX / 2)), nullptr);
  EXPECT_EQ(carrel_malloc(opaque_size(SIZE_MAX / 2)), nullptr);
  EXPECT_EQ(handler_calls, 0);
}

struct CustomBadAlloc : std::bad_alloc {
  const char* what() const noexcept override { return "custom"; }
};

TEST_F(NewHandler, MayThrowThroughThrowingForms) {
  std::set_new_handler([] { throw CustomBadAlloc(); });
  const std::size_t size = opaque_size(PTRDIFF_MAX);
  EXPECT_THROW(::operator delete(::operator new(size)), CustomBadAlloc);
  EXPECT_THROW(::operator delete(::operator new[](size)), CustomBadAlloc);
  EXPECT_THROW(::operator delete(::operator new(size, aligned(64))), CustomBadAlloc);
}

TEST_F(NewHandler, ThatThrowsMakesNothrowFormsReturnNull) {
  std::set_new_handler([] { throw CustomBadAlloc(); });
  const std::size_t size = opaque_size(PTRDIFF_MAX);
  EXPECT_EQ(::operator new(size, std::nothrow), nullptr);
  EXPECT_EQ(::operator new[](size, std::nothrow), nullptr);
  EXPECT_EQ(::operator new(size, aligned(64), std::nothrow), nullptr);
  EXPECT_EQ(::operator new[](size, aligned(64), std::nothrow), nullptr);
}

}  // namespace
