/* A freed sampled block cannot be touched. */
#include "death.h"

int main(void) {
  char* block = sampled(100);
  misuse(block);
  free(block);
  return ((volatile char*)hidden(block))[8];
}
