/* realloc of a freed sampled block. */
#include "death.h"

int main(void) {
  char* block = sampled(100);
  misuse(block);
  free(block);
  return realloc(hidden(block), 200) == NULL;
}
