// delete[] of an array that was deleted: a run of pages, noticed at the call.
#include "death.h"

int main() {
  char* array = new char[400 << 10];
  misuse(array);
  delete[] array;
  delete[] static_cast<char*>(hidden(array));
  return 0;
}
