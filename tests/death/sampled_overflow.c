/* A write that stays in a sampled block's last page is noticed when the block is freed. */
#include "death.h"

int main(void) {
  char* block = sampled(90);
  misuse(block);
  ((volatile char*)hidden(block))[90] = 0;
  free(block);
  return 0;
}
