/* A block of 20 KiB, the largest kind that is cached, freed twice by a thread. */
#include "death.h"

static void* free_twice(void* block) {
  free(block);
  free(hidden(block));
  return NULL;
}

int main(void) {
  void* block = malloc(20 << 10);
  misuse(block);
  run_in_thread(free_twice, block);
  return 0;
}
