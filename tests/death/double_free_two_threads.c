/* A small block freed by two threads, noticed when the second one ends. */
#include "death.h"

static void* free_once(void* block) {
  free(hidden(block));
  return NULL;
}

int main(void) {
  void* block = malloc(200);
  misuse(block);
  run_in_thread(free_once, block);
  run_in_thread(free_once, block);
  return 0;
}
