// An aligned delete with an alignment that the block does not have.
#include <new>

#include "death.h"

int main() {
  void* block = hidden(::operator new (100, std::align_val_t{16}));
  misuse(block);
  ::operator delete (block, std::align_val_t{1 << 20});
  return 0;
}
