/* An address beyond the address space of the machine. */
#include "death.h"

int main(void) {
  void* pointer = (void*)(uintptr_t)0xdeadbeefdeadbee0;
  misuse(pointer);
  free(hidden(pointer));
  return 0;
}
