// A new-handler that frees memory, at a real limit: the very call that ran out must succeed
// once the handler has made room, in every throwing and nothrow form.
//
// Starts itself again under RLIMIT_AS, so that the allocator's reservations are limited too.
#include <sys/resource.h>

#include <new>

#include "../support/check.h"
#include "../support/override.h"

namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kLimit = 700 * kMiB;
constexpr size_t kReserve = 200 * kMiB;
constexpr size_t kRequest = 120 * kMiB;

void* reserve;
int handler_calls;

void release_reserve() {
  ++handler_calls;
  if (reserve == nullptr) {
    std::set_new_handler(nullptr);
    return;
  }
  free(reserve);
  reserve = nullptr;
}

/// Leaves less than a request's memory free, with a reserve that is more than enough.
struct Shortage {
  void* blocks[1024];
  int count = 0;
  Shortage() {
    reserve = malloc(kReserve);
    CHECK(reserve != nullptr);
    while (count < 1024 && (blocks[count] = malloc(8 * kMiB)) != nullptr) ++count;
    CHECK(count > 0 && count < 1024);
    handler_calls = 0;
    std::set_new_handler(release_reserve);
  }
  ~Shortage() {
    std::set_new_handler(nullptr);
    for (int i = 0; i < count; ++i) free(blocks[i]);
    free(reserve);
    reserve = nullptr;
  }
};

template <class Allocate>
void expect_rescue(Allocate allocate) {
  Shortage shortage;
  char* block = static_cast<char*>(allocate(opaque_size(kRequest)));
  CHECK(block != nullptr);
  CHECK_EQ(handler_calls, 1);
  block[0] = block[kRequest - 1] = 1;
  free(block);
}

}  // namespace

int main(int argc, char** argv) {
  require_override();
  if (argc == 1) {
    const struct rlimit limit = {kLimit, kLimit};
    CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
    char limited[] = "limited";
    char* arguments[] = {argv[0], limited, nullptr};
    execv("/proc/self/exe", arguments);
    CHECK(!"execv must not return");
  }
  constexpr std::align_val_t kWide{4096};
  expect_rescue([](size_t size) { return ::operator new(size); });
  expect_rescue([](size_t size) { return ::operator new[](size); });
  expect_rescue([](size_t size) { return ::operator new(size, std::nothrow); });
  expect_rescue([](size_t size) { return ::operator new[](size, std::nothrow); });
  expect_rescue([](size_t size) { return ::operator new(size, kWide); });
  expect_rescue([](size_t size) { return ::operator new[](size, kWide); });
  expect_rescue([](size_t size) { return ::operator new(size, kWide, std::nothrow); });
  return 0;
}
