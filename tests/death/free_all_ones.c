/* The largest address, as -1 cast to a pointer. */
#include "death.h"

int main(void) {
  void* pointer = (void*)UINTPTR_MAX;
  misuse(pointer);
  free(hidden(pointer));
  return 0;
}
