/* malloc_usable_size of a pointer that was never an allocation. */
#include "death.h"

static _Alignas(16) char bytes[256];

int main(void) {
  misuse(bytes);
  return malloc_usable_size(hidden(bytes)) == 0;
}
