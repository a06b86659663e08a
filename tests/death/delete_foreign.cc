// operator delete of a pointer that was never an allocation.
#include "death.h"

alignas(16) static char bytes[256];

int main() {
  misuse(bytes);
  ::operator delete(hidden(bytes));
  return 0;
}
