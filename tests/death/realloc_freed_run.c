/* realloc of a block of 200 KiB that was freed. */
#include "death.h"

int main(void) {
  void* block = malloc(200 << 10);
  misuse(block);
  free(block);
  void* grown = realloc(hidden(block), 300 << 10);
  return grown == NULL;
}
