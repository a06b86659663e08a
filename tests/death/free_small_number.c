/* A small number taken for a pointer. */
#include "death.h"

int main(void) {
  void* pointer = (void*)(uintptr_t)16;
  misuse(pointer);
  free(hidden(pointer));
  return 0;
}
