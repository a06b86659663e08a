/* A pointer to a static variable. */
#include "death.h"

static _Alignas(16) char bytes[256];

int main(void) {
  misuse(bytes + 64);
  free(hidden(bytes + 64));
  return 0;
}
