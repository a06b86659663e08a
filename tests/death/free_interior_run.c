/* A pointer into a block of 300 KiB, a run of pages. */
#include "death.h"

int main(void) {
  char* block = (char*)malloc(300 << 10);
  misuse(block + (128 << 10));
  free(hidden(block + (128 << 10)));
  return 0;
}
