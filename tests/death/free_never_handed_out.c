/* A slot behind the last block handed out: ours, but never allocated. */
#include "death.h"

static void* free_neighbour(void* pointer) {
  free(hidden(pointer));
  return NULL;
}

int main(void) {
  /* More blocks than one batch, then a pointer a good way behind the highest of them. */
  char* highest = NULL;
  for (int i = 0; i < 4; i++) {
    char* block = (char*)malloc(2048);
    if (block > highest) highest = block;
  }
  char* never = highest + 2048 * 20;
  misuse(never);
  run_in_thread(free_neighbour, never);
  return 0;
}
