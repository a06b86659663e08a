/* So is one in front of it, in its first page: wherever the block lies in the page, some bytes of
 * one of two blocks do. */
#include "death.h"

int main(void) {
  char* block = sampled(100);
  while (((uintptr_t)block & 4095) == 0) block = sampled(100);
  misuse(block);
  ((volatile char*)hidden(block))[-1] = 0;
  free(block);
  return 0;
}
