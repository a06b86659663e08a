/* A small block freed twice by a thread, noticed when it ends. */
#include "death.h"

static void* free_twice(void* block) {
  free(block);
  free(hidden(block));
  return NULL;
}

int main(void) {
  void* block = malloc(48);
  misuse(block);
  run_in_thread(free_twice, block);
  return 0;
}
