/* realloc of a pointer that was never an allocation. */
#include "death.h"

static _Alignas(16) char bytes[256];

int main(void) {
  misuse(bytes);
  void* grown = realloc(hidden(bytes), 1000);
  return grown == NULL;
}
