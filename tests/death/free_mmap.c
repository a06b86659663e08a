/* A pointer that mmap returned, never an allocation. */
#include "death.h"

#include <sys/mman.h>

int main(void) {
  void* memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) _exit(3);
  misuse(memory);
  free(hidden(memory));
  return 0;
}
