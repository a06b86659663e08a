/* malloc_usable_size of a block of 200 KiB that was freed. */
#include "death.h"

int main(void) {
  void* block = malloc(200 << 10);
  misuse(block);
  free(block);
  return malloc_usable_size(hidden(block)) == 0;
}
