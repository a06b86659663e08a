/* malloc_usable_size of a freed sampled block. */
#include "death.h"

int main(void) {
  char* block = sampled(100);
  misuse(block);
  free(block);
  return malloc_usable_size(hidden(block)) == 0;
}
