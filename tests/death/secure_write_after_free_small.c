/* A freed block is written to; noticed when it is to be handed out again. */
#include "death.h"

int main(void) {
  char* block = (char*)malloc(40);
  misuse(block);
  free(block);
  ((char*)hidden(block))[8] = 'x';
  for (int i = 0; i < 100000; i++) {
    char* next = (char*)malloc(40);
    if (i % 2 == 0) free(next);
  }
  return 0;
}
