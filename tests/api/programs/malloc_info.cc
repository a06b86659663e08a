// Run by check_malloc_info.py: holds 96 MiB of blocks, small and large, in two threads, and
// writes malloc_info's document to standard output.
#include <malloc.h>

#include <thread>
#include <vector>

#include "../support/check.h"
#include "../support/override.h"

int main() {
  require_override();
  std::vector<void*> blocks(64 << 10);
  for (void*& block : blocks) CHECK((block = malloc(512)) != nullptr);
  std::vector<void*> others(32 << 10);
  std::thread([&others] {
    for (void*& block : others) CHECK((block = malloc(1024)) != nullptr);
  }).join();
  void* large = malloc(32 << 20);
  CHECK(large != nullptr);
  CHECK_EQ(malloc_info(0, stdout), 0);
  for (void* block : blocks) free(block);
  for (void* block : others) free(block);
  free(large);
  return 0;
}
