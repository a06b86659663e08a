/* A block of 200 KiB, a run of pages, freed twice: noticed at the call. */
#include "death.h"

int main(void) {
  void* block = malloc(200 << 10);
  misuse(block);
  free(block);
  free(hidden(block));
  return 0;
}
