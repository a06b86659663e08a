/* The same behind a large block, before its last page ends. */
#include "death.h"

int main(void) {
  char* block = (char*)malloc(100001);
  misuse(block);
  ((char*)hidden(block))[100001] = 'x';
  free(block);
  return 0;
}
