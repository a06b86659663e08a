// A sized delete with half the size.
#include <new>

#include "death.h"

int main() {
  void* block = hidden(::operator new(100));
  misuse(block);
  ::operator delete(block, 50);
  return 0;
}
