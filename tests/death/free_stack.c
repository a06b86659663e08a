/* A pointer to the stack. */
#include "death.h"

int main(void) {
  long long local[8];
  misuse(&local[2]);
  free(hidden(&local[2]));
  return 0;
}
