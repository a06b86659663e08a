// The smallest program: one block allocated, written and freed. What counts is the resident memory
// of a process that hardly uses its allocator, so it includes nothing of the other workloads' code.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main() {
  char* block = static_cast<char*>(malloc(100));
  if (block == nullptr) return 1;
  memset(block, 'x', 100);
  const bool intact = block[0] == 'x' && block[99] == 'x';
  free(block);
  puts("{\"ops\":1,\"seconds\":0}");
  return intact ? 0 : 1;
}
