/* The first page behind a sampled block's last one cannot be touched. */
#include "death.h"

int main(void) {
  char* block = sampled(4096);
  misuse(block);
  return ((volatile char*)hidden(block))[4096];
}
