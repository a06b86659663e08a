/* One thread allocates, a second one frees, a third one reads. */
#include "death.h"

static void* free_it(void* block) {
  free(block);
  return NULL;
}
static void* read_it(void* block) { return (void*)(intptr_t)((volatile char*)hidden(block))[8]; }

int main(void) {
  char* block = sampled(100);
  misuse(block);
  run_in_thread(free_it, block);
  run_in_thread(read_it, block);
  return 0;
}
