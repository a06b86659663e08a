// Misuse of a whole heap: what is reported, and with which code. What only a cache's flush
// finds out is found out by flushing.
#include <sys/mman.h>

#include "test_heap.h"

namespace carrel::core {
namespace {

class MisuseTest : public HeapFixture {
 protected:
  void expect_free_reports(const char* code, const void* pointer) {
    expect_report(code, pointer, [&] { heap_->free(const_cast<void*>(pointer)); });
  }
  /// The other entries that take a block judge it alike.
  void expect_all_report(const char* code, const void* pointer) {
    SCOPED_TRACE(code);
    expect_free_reports(code, pointer);
    expect_report(code, pointer, [&] { heap_->usable_size(pointer); });
    expect_report(code, pointer,
                  [&] { heap_->reallocate(const_cast<void*>(pointer), 200'000, 16); });
  }
};

int global_object;

TEST_F(MisuseTest, ForeignPointersAreInvalid) {
  allocate(100);
  allocate(100'000);
  int local = 0;
  expect_all_report("invalid-free", &local);
  expect_all_report("invalid-free", &global_object);
  expect_all_report("invalid-free", "a literal");
  expect_all_report("invalid-free", reinterpret_cast<const void*>(&::munmap));
  expect_all_report("invalid-free", reinterpret_cast<void*>(std::uintptr_t{8}));
  expect_all_report("invalid-free", reinterpret_cast<void*>(UINTPTR_MAX));
  expect_all_report("invalid-free", reinterpret_cast<void*>(std::uintptr_t{1} << 63));
  void* mapped = ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  expect_all_report("invalid-free", mapped);
  ::munmap(mapped, 4096);
  expect_all_report("invalid-free", mapped);
}

TEST_F(MisuseTest, BeforeItsFirstUseEveryPointerIsInvalid) {
  int local = 0;
  expect_all_report("invalid-free", &local);
  renew();
  expect_free_reports("invalid-free", reinterpret_cast<void*>(std::uintptr_t{0x10000}));
}

TEST_F(MisuseTest, OurOwnRecordsAreNoBlocks) {
  char* block = allocate(100);
  expect_free_reports("invalid-free", heap_->map().span_of(block));
  renew();
  allocate(100);
  expect_free_reports("invalid-free", TestTls::current);
}

TEST_F(MisuseTest, AddressesOfTheWindowThatWereNeverAdded) {
  allocate(100);
  const std::size_t end = heap_->map().granule_count();
  expect_all_report("invalid-free", heap_->map().address(end));
  expect_all_report("invalid-free", heap_->map().address(end + 1000));
  expect_all_report("invalid-free", heap_->map().address(heap_->map().window_granules() - 1));
}

TEST_F(MisuseTest, ALargeBlockFreedTwice) {
  for (const std::size_t size : {40'000u, 100'000u, 10'000'000u}) {
    renew();
    char* block = allocate(size);
    heap_->free(block);
    expect_all_report("double-free", block);
  }
}

TEST_F(MisuseTest, ALargeBlockFreedTwiceAfterItWasPurged) {
  char* block = allocate(3'000'000);
  heap_->free(block);
  heap_->purge();
  expect_all_report("double-free", block);
}

TEST_F(MisuseTest, ALargeBlockFreedTwiceBetweenOthers) {
  char* blocks[5];
  for (char*& block : blocks) block = allocate(100'000);
  heap_->free(blocks[1]);
  heap_->free(blocks[2]);
  heap_->free(blocks[3]);  // one free span now: these are its beginning, inside and end
  for (const int i : {1, 2, 3}) expect_all_report("double-free", blocks[i]);
}

TEST_F(MisuseTest, PointersIntoALargeBlock) {
  char* block = allocate(300'000);
  for (const std::size_t off :
       {std::size_t{1}, std::size_t{16}, std::size_t{4096}, std::size_t{65'535}}) {
    expect_all_report("interior-pointer", block + off);
  }
  expect_all_report("interior-pointer", block + kGranuleBytes);
  expect_all_report("interior-pointer", block + 3 * kGranuleBytes);
  expect_all_report("interior-pointer", block + 299'999);
}

TEST_F(MisuseTest, ASmallBlockFreedTwiceIsFoundAtTheFlush) {
  for (const std::size_t size : {1u, 48u, 64u, 1000u, 32'768u}) {
    renew();
    char* block = allocate(size);
    heap_->free(block);
    heap_->free(block);
    expect_report("double-free", block, [&] { detach(); });
  }
}

TEST_F(MisuseTest, ASmallBlockFreedByTwoThreadsIsFoundAtTheFlush) {
  char* block = allocate(500);
  heap_->free(block);
  VirtualThread other;
  other.run([&] { heap_->free(block); });
  detach();
  expect_report("double-free", block, [&] { other.exit(*heap_); });
}

TEST_F(MisuseTest, ASmallBlockOfAReleasedSlab) {
  std::vector<char*> blocks = allocate_many(1000, 1000);
  free_all(blocks);
  detach();
  heap_->purge();
  for (const std::size_t i : {0u, 500u, 999u}) expect_all_report("double-free", blocks[i]);
}

TEST_F(MisuseTest, APointerIntoASmallBlockIsFoundAtTheFlush) {
  for (const std::size_t off : {1u, 8u, 16u, 100u}) {
    renew();
    char* block = allocate(200);
    heap_->free(block + off);
    expect_report("interior-pointer", block + off, [&] { detach(); });
  }
}

TEST_F(MisuseTest, WithoutACacheSmallMisuseIsFoundAtOnce) {
  VirtualThread thread;
  char* block = allocate(200);
  char* other = allocate(200);
  thread.run([] { TestTls::exiting = true; });
  thread.run([&] { expect_free_reports("interior-pointer", block + 32); });
  renew();
  block = allocate(200);
  other = allocate(200);
  VirtualThread again;
  again.run([&] {
    TestTls::exiting = true;
    heap_->free(block);
    expect_free_reports("double-free", block);
  });
  EXPECT_NE(other, nullptr);
}

TEST_F(MisuseTest, UnderALimitForeignPointersInTheWindowAreInvalid) {
  // The window is a range of addresses in which other people's mappings lie too.
  FakeOs::settings.address_space_limit = 2000 * kMiB;
  char* block = allocate(100);
  void* foreign = ::mmap(nullptr, 8 * kMiB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_LT(heap_->map().index_of(foreign), heap_->map().granule_count());
  expect_all_report("invalid-free", foreign);
  expect_all_report("invalid-free", static_cast<char*>(foreign) + kMiB);
  ::munmap(foreign, 8 * kMiB);
  heap_->free(block);
}

TEST_F(MisuseTest, ReportsNeedNoMemory) {
  allocate(100);
  const std::uint64_t calls = FakeOs::fallible_calls();
  FakeOs::fail_call(1, true);
  int local = 0;
  expect_free_reports("invalid-free", &local);
  EXPECT_EQ(FakeOs::fallible_calls(), calls);
}

/// AddressSanitizer is told of what is free, where it is built in; elsewhere nobody is.
TEST_F(MisuseTest, ASanitizerBuildKnowsFreeBlocks) {
  for (const std::size_t size : {16u, 100u, 32'768u, 100'000u, 3'000'000u}) {
    char* block = allocate(size);
    EXPECT_FALSE(is_poisoned(block)) << size;
    EXPECT_FALSE(is_poisoned(block + size - 1)) << size;
    heap_->free(block);
    EXPECT_EQ(is_poisoned(block), kPoisons) << size;
    EXPECT_EQ(is_poisoned(block + size - 1), kPoisons) << size;
    char* again = allocate(size);
    EXPECT_FALSE(is_poisoned(again)) << size;
    heap_->free(again);
  }
  expect_clean();
}

}  // namespace
}  // namespace carrel::core
