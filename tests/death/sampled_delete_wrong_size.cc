// A sized delete of a sampled block names another size.
#include <new>

#include "death.h"

int main() {
  void* block = nullptr;
  for (int i = 0; i < 64; ++i) block = operator new(100);
  misuse(block);
  operator delete (hidden(block), std::size_t{101});
  return 0;
}
