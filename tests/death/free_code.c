/* A pointer to a function. */
#include "death.h"

int main(void) {
  void* pointer = (void*)(uintptr_t)&misuse;
  misuse(pointer);
  free(hidden(pointer));
  return 0;
}
