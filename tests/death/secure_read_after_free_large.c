/* A freed large block cannot be touched. */
#include "death.h"

int main(void) {
  char* block = (char*)malloc(100001);
  misuse(block);
  free(block);
  return ((char*)hidden(block))[8];
}
