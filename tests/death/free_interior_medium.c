/* A pointer into a block of 20 KiB. */
#include "death.h"

static void* free_inside(void* pointer) {
  free(hidden(pointer));
  return NULL;
}

int main(void) {
  char* block = (char*)malloc(20 << 10);
  misuse(block + 4096);
  run_in_thread(free_inside, block + 4096);
  return 0;
}
