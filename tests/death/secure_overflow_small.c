/* A byte behind a block is overwritten; noticed when the block is freed. */
#include "death.h"

int main(void) {
  char* block = (char*)malloc(40);
  misuse(block);
  ((char*)hidden(block))[40] = 'x';
  free(block);
  return 0;
}
