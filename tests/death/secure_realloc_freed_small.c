/* realloc of a small block that is free. */
#include "death.h"

int main(void) {
  char* block = (char*)malloc(40);
  misuse(block);
  free(block);
  return realloc(hidden(block), 50) == NULL;
}
