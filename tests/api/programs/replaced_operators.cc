// A program that replaces only operator new(size_t) and operator delete(void*), as the
// standard allows: the other forms' default behaviour is to call these two.
//
// The replacement puts a header before each block, so that mixing it with carrel's own
// forms would free a pointer that was never handed out.
#include <new>

#include "../support/check.h"
#include "../support/override.h"

namespace {

constexpr size_t kHeaderBytes = 64;
constexpr size_t kMark = 0x600dc0de600dc0de;
long live_blocks;
long calls;

}  // namespace

void* operator new(size_t size) {
  char* block = static_cast<char*>(malloc(size + kHeaderBytes));
  if (block == nullptr) throw std::bad_alloc();
  memcpy(block, &kMark, sizeof kMark);
  ++live_blocks;
  ++calls;
  return block + kHeaderBytes;
}

void operator delete(void* pointer) noexcept {
  if (pointer == nullptr) return;
  char* block = static_cast<char*>(pointer) - kHeaderBytes;
  size_t mark = 0;
  memcpy(&mark, block, sizeof mark);
  CHECK(mark == kMark);
  --live_blocks;
  free(block);
}

int main() {
  require_override();
  const long before = live_blocks;
  const size_t size = opaque_size(100);
  ::operator delete(opaque_pointer(::operator new(size)));
  ::operator delete(opaque_pointer(::operator new(size)), size);
  ::operator delete(opaque_pointer(::operator new(size, std::nothrow)), std::nothrow);
  ::operator delete[](opaque_pointer(::operator new[](size)));
  ::operator delete[](opaque_pointer(::operator new[](size)), size);
  ::operator delete[](opaque_pointer(::operator new[](size, std::nothrow)), std::nothrow);
  CHECK_EQ(live_blocks, before);
  CHECK_GE(calls, 6);
  return 0;
}
