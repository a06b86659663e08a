/* A byte in front of a block, where none was yet; noticed when the block is freed. */
#include "death.h"

int main(void) {
  /* The lowest of many has an unused slot in front of it, unless it is its slab's first. */
  char* blocks[8];
  for (int i = 0; i < 8; i++) blocks[i] = (char*)malloc(2000);
  for (int i = 0; i < 8; i++) {
    int behind = 0;
    for (int j = 0; j < 8; j++) {
      if (blocks[i] - blocks[j] == 2048 || blocks[i] - blocks[j] == 2560) behind = 1;
    }
    if (behind || (uintptr_t)blocks[i] % 65536 == 0) continue;
    misuse(blocks[i]);
    ((char*)hidden(blocks[i]))[-1] = 'x';
    free(blocks[i]);
    return 0;
  }
  return 3;
}
