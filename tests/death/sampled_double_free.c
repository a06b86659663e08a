/* A sampled block is freed again much later. */
#include "death.h"

int main(void) {
  char* block = sampled(100);
  misuse(block);
  free(block);
  for (int i = 0; i < 60; i++) free(malloc(100));
  free(hidden(block));
  return 0;
}
