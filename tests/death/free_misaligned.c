/* A pointer one byte into a small block. */
#include "death.h"

static void* free_inside(void* pointer) {
  free(hidden(pointer));
  return NULL;
}

int main(void) {
  char* block = (char*)malloc(100);
  misuse(block + 1);
  run_in_thread(free_inside, block + 1);
  return 0;
}
