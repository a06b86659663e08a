/* A pointer into a block of 64 MiB, a mapping of its own. */
#include "death.h"

int main(void) {
  char* block = (char*)malloc(64 << 20);
  misuse(block + (1 << 20));
  free(hidden(block + (1 << 20)));
  return 0;
}
