/* A block with an alignment beyond the page, freed twice: noticed at the call. */
#include "death.h"

int main(void) {
  void* block = memalign(1 << 20, 300 << 10);
  misuse(block);
  free(block);
  free(hidden(block));
  return 0;
}
