/* realloc of a pointer into a block, noticed at the latest when its thread ends. */
#include "death.h"

static void* resize_inside(void* pointer) {
  void* grown = realloc(hidden(pointer), 1000);
  return grown;
}

int main(void) {
  char* block = (char*)malloc(500);
  misuse(block + 48);
  run_in_thread(resize_inside, block + 48);
  return 0;
}
