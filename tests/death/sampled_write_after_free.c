/* Nor written, also when many others were freed meanwhile. */
#include "death.h"

int main(void) {
  char* block = sampled(5000);
  misuse(block);
  free(block);
  for (int i = 0; i < 60; i++) free(malloc(5000));
  ((volatile char*)hidden(block))[4999] = 'x';
  return 0;
}
