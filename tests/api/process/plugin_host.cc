// Loads and unloads a library hundreds of times, from several threads; blocks cross the
// border both ways and outlive the library that allocated them.
#include <dlfcn.h>

#include <string>
#include <thread>
#include <vector>

#include "../support/check.h"
#include "../support/override.h"
#include "../support/proc.h"

namespace {

struct Left {
  char* block;
  size_t size;
};

void load_and_unload(const std::string& path, int rounds, uint64_t seed) {
  uint64_t random = seed;
  std::vector<Left> left;
  for (int round = 0; round < rounds; ++round) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) fprintf(stderr, "%s\n", dlerror());
    CHECK(library != nullptr);
    auto take = reinterpret_cast<void* (*)(size_t)>(dlsym(library, "plugin_take"));
    auto give = reinterpret_cast<void (*)(void*)>(dlsym(library, "plugin_give"));
    CHECK(take != nullptr && give != nullptr);
    for (int i = 0; i < 40; ++i) {
      const size_t size = next_random(&random) % 3000 + 1;
      char* block = static_cast<char*>(take(size));
      CHECK(block != nullptr);
      if (i % 2 == 0) {
        left.push_back({block, size});
      } else {
        give(block);
      }
      give(malloc(size));
    }
    CHECK_EQ(dlclose(library), 0);
    // Blocks of libraries long gone.
    while (left.size() > 200) {
      const Left last = left.back();
      left.pop_back();
      CHECK(last.block[0] == 'p' && last.block[last.size - 1] == 'p');
      free(last.block);
    }
  }
  for (const Left& item : left) {
    CHECK(item.block[0] == 'p' && item.block[item.size - 1] == 'p');
    free(item.block);
  }
}

}  // namespace

int main(int argc, char** argv) {
  require_override();
  CHECK(argc == 2);
  const std::string path = argv[1];
  load_and_unload(path, 100, 1);
  const long settled_kib = rss_kib();
  load_and_unload(path, 200, 2);
  CHECK_LE(rss_kib(), settled_kib + 4096);
  // A thread that is gone before the library, and one that outlives it.
  std::vector<std::thread> threads;
  for (uint64_t t = 3; t < 7; ++t) {
    threads.emplace_back([&path, t] { load_and_unload(path, 50, t); });
  }
  for (std::thread& thread : threads) thread.join();
  return 0;
}
