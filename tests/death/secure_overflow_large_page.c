/* A large block of whole pages: the byte behind it cannot be touched. */
#include "death.h"

int main(void) {
  char* block = (char*)malloc(262144);
  misuse(block);
  ((char*)hidden(block))[262144] = 'x';
  return 0;
}
