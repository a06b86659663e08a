/* A small block freed twice, noticed when the program asks for a purge. */
#include "death.h"

#include <carrel/carrel.h>

int main(void) {
  void* block = malloc(1000);
  misuse(block);
  free(block);
  free(hidden(block));
  carrel_purge();
  return 0;
}
