/* A pointer into a sampled block. */
#include "death.h"

int main(void) {
  char* block = sampled(100);
  misuse(block + 16);
  free(hidden(block + 16));
  return 0;
}
