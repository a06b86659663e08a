// A C++ program linked with -static: operator new and delete must be carrel's too, beside
// exceptions, threads and the standard library's own allocations.
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "../support/check.h"

#include <carrel/carrel.h>

namespace {

void check_override() {
  void* block = ::operator new(100);
  CHECK_EQ(carrel_usable_size(block), carrel_good_size(100));
  ::operator delete(block);
  block = ::operator new[](5000);
  CHECK_EQ(carrel_usable_size(block), carrel_good_size(5000));
  carrel_free(block);
  block = ::operator new (100, std::align_val_t{256});
  CHECK_EQ(reinterpret_cast<uintptr_t>(block) % 256, 0);
  CHECK_GE(carrel_usable_size(block), 100);
  ::operator delete (block, std::align_val_t{256});
  bool thrown = false;
  try {
    ::operator delete(::operator new(opaque_size(PTRDIFF_MAX)));
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  CHECK(thrown);
  CHECK(::operator new(opaque_size(PTRDIFF_MAX), std::nothrow) == nullptr);
}

void work() {
  std::map<int, std::string> map;
  for (int i = 0; i < 3000; ++i) map[i] = std::string(static_cast<size_t>(i % 200), 'm');
  std::vector<std::unique_ptr<std::string>> strings;
  for (auto& [key, text] : map) strings.push_back(std::make_unique<std::string>(text));
  CHECK_EQ(strings.size(), 3000);
}

}  // namespace

int main() {
  check_override();
  work();
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  CHECK_GE(carrel_usable_size(strdup("libc in a C++ program")), 22);
  char version[32];
  snprintf(version, sizeof version, "%d.%d.%d", CARREL_VERSION_MAJOR, CARREL_VERSION_MINOR,
           CARREL_VERSION_PATCH);
  CHECK(strcmp(carrel_version(), version) == 0);
  printf("carrel %s\n", version);
  return 0;
}
