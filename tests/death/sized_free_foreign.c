/* free_sized of a pointer that was never an allocation. */
#include "death.h"

void free_sized(void* block, size_t size);

static _Alignas(16) char bytes[4096];

static void* free_foreign(void* pointer) {
  free_sized(hidden(pointer), 64);
  return NULL;
}

int main(void) {
  misuse(bytes);
  run_in_thread(free_foreign, bytes);
  return 0;
}
