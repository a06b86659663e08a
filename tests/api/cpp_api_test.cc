// carrel.hpp: the polymorphic memory resource and the STL allocator, used as the standard
// library uses them.
#include <gtest/gtest.h>

#include <carrel/carrel.hpp>

#include <list>
#include <map>
#include <memory>
#include <memory_resource>
#include <new>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "support/blocks.h"
#include "support/override.h"

namespace {

using namespace api_test;

TEST(MemoryResource, AllocatesAlignedBlocksOfCarrel) {
  std::pmr::memory_resource* resource = carrel::memory_resource();
  for (int shift = 0; shift <= 16; ++shift) {
    const std::size_t alignment = std::size_t{1} << shift;
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, std::size_t{100}, 10 * kKiB, 100 * kKiB, 3 * kMiB}) {
      void* block = resource->allocate(size, alignment);
      ASSERT_NE(block, nullptr);
      EXPECT_TRUE(is_aligned(block, alignment));
      EXPECT_GE(carrel_usable_size(block), size);
      std::memset(block, 1, size);
      resource->deallocate(block, size, alignment);
    }
  }
}

TEST(MemoryResource, EqualsItselfAndItsLikeOnly) {
  const carrel::MemoryResource first;
  const carrel::MemoryResource second;
  EXPECT_TRUE(first == second);
  EXPECT_TRUE(*carrel::memory_resource() == first);
  EXPECT_EQ(carrel::memory_resource(), carrel::memory_resource());
  EXPECT_FALSE(first == *std::pmr::new_delete_resource());
  EXPECT_FALSE(first == *std::pmr::null_memory_resource());
}

TEST(MemoryResource, ServesContainersAcrossThreads) {
  std::pmr::unordered_map<int, std::pmr::string> map{carrel::memory_resource()};
  for (int i = 0; i < 5000; ++i) map.emplace(i, std::string(static_cast<std::size_t>(i % 90), 'x'));
  std::pmr::vector<std::pmr::string> strings{carrel::memory_resource()};
  for (auto& [key, text] : map) strings.push_back(text);
  std::thread([&] {
    map.clear();
    strings.clear();
    strings.shrink_to_fit();
  }).join();
  EXPECT_TRUE(map.empty());
  std::pmr::monotonic_buffer_resource arena{carrel::memory_resource()};
  std::pmr::list<int> list{&arena};
  for (int i = 0; i < 10000; ++i) list.push_back(i);
  EXPECT_EQ(list.size(), 10000u);
}

TEST(MemoryResource, ThrowsBadAlloc) {
  EXPECT_THROW(static_cast<void>(carrel::memory_resource()->allocate(opaque_size(PTRDIFF_MAX), 8)),
               std::bad_alloc);
  EXPECT_THROW(
      static_cast<void>(carrel::memory_resource()->allocate(opaque_size(PTRDIFF_MAX), 4096)),
      std::bad_alloc);
}

struct alignas(128) Wide {
  int value = 0;
};

TEST(Allocator, ServesContainers) {
  std::vector<int, carrel::allocator<int>> numbers;
  for (int i = 0; i < 1000000; ++i) numbers.push_back(i);
  EXPECT_EQ(numbers[999999], 999999);
  EXPECT_GE(carrel_usable_size(numbers.data()), numbers.capacity() * sizeof(int));

  std::map<int, std::string, std::less<>, carrel::allocator<std::pair<const int, std::string>>> map;
  for (int i = 0; i < 3000; ++i) map[i] = std::to_string(i);
  EXPECT_EQ(map[2999], "2999");

  std::vector<Wide, carrel::allocator<Wide>> wide;
  for (int i = 0; i < 300; ++i) {
    wide.push_back({i});
    ASSERT_TRUE(is_aligned(wide.data(), alignof(Wide)));
  }

  std::basic_string<char, std::char_traits<char>, carrel::allocator<char>> text(100000, 'y');
  text += text;
  EXPECT_EQ(text.size(), 200000u);

  const auto shared = std::allocate_shared<Wide>(carrel::allocator<Wide>{});
  EXPECT_TRUE(is_aligned(shared.get(), alignof(Wide)));
}

TEST(Allocator, IsStatelessAndConvertible) {
  const carrel::allocator<int> ints;
  const carrel::allocator<double> doubles(ints);
  EXPECT_TRUE(ints == doubles);
  EXPECT_TRUE(std::allocator_traits<carrel::allocator<int>>::is_always_equal::value);
  EXPECT_EQ(sizeof(ints), 1u);
  std::vector<int, carrel::allocator<int>> from(1000, 7);
  const int* data = from.data();
  std::vector<int, carrel::allocator<int>> to;
  to = std::move(from);
  EXPECT_EQ(to.data(), data) << "moving must not copy the elements";
}

TEST(Allocator, ChecksTheProduct) {
  carrel::allocator<Wide> wide;
  EXPECT_THROW(static_cast<void>(wide.allocate(opaque_size(SIZE_MAX / 128 + 1))),
               std::bad_array_new_length);
  EXPECT_THROW(static_cast<void>(wide.allocate(opaque_size(SIZE_MAX / 128))), std::bad_alloc);
}

}  // namespace
