/* Nor the one before its first. */
#include "death.h"

int main(void) {
  char* block = sampled(4096);
  misuse(block);
  return ((volatile char*)hidden(block))[-1];
}
