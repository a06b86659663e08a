/* A small block freed twice in a row, noticed at the second call. */
#include "death.h"

int main(void) {
  char* block = (char*)malloc(40);
  misuse(block);
  free(block);
  free(hidden(block));
  return 0;
}
