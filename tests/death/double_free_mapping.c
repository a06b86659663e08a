/* A block of 64 MiB, a mapping of its own, freed twice: noticed at the call. */
#include "death.h"

int main(void) {
  void* block = malloc(64 << 20);
  misuse(block);
  free(block);
  free(hidden(block));
  return 0;
}
