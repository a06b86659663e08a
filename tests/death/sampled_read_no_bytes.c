/* A sampled block of no bytes has none that can be read. */
#include "death.h"

int main(void) {
  char* block = sampled(0);
  misuse(block);
  return ((volatile char*)hidden(block))[0];
}
