/* A pointer into a small block, no start of a slot. */
#include "death.h"

static void* free_inside(void* pointer) {
  free(hidden(pointer));
  return NULL;
}

int main(void) {
  char* block = (char*)malloc(500);
  misuse(block + 64);
  run_in_thread(free_inside, block + 64);
  return 0;
}
