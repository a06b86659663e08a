/* An address at which nothing is mapped: the report must not touch it. */
#include "death.h"

int main(void) {
  void* pointer = (void*)(uintptr_t)0x123456789a0;
  misuse(pointer);
  free(hidden(pointer));
  return 0;
}
