/* A pointer 16 bytes into a block of 300 KiB. */
#include "death.h"

int main(void) {
  char* block = (char*)malloc(300 << 10);
  misuse(block + 16);
  free(hidden(block + 16));
  return 0;
}
