/* malloc_usable_size of a small block that is free. */
#include "death.h"

int main(void) {
  char* block = (char*)malloc(40);
  misuse(block);
  free(block);
  return malloc_usable_size(hidden(block)) == 0;
}
