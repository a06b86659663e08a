/* The byte in front of a large block cannot be touched. */
#include "death.h"

int main(void) {
  char* block = (char*)malloc(100001);
  misuse(block);
  ((char*)hidden(block))[-1] = 'x';
  return 0;
}
