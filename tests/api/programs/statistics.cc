// Run by check_statistics.py: holds known blocks and writes the statistics to standard output in
// the format whose number it is given.
#include <carrel/carrel.h>
#include <malloc.h>

#include "../support/check.h"
#include "../support/override.h"

int main(int count, char** arguments) {
  require_override();
  CHECK_EQ(count, 2);
  static char buffer[BUFSIZ];  // or stdout would allocate one while it is written to
  setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
  static void* blocks[10000];
  for (void*& block : blocks) CHECK((block = malloc(500)) != nullptr);
  void* large = malloc(32 << 20);
  CHECK(large != nullptr);
  const auto write = [](void* stream, const char* text, size_t size) {
    fwrite(text, 1, size, static_cast<FILE*>(stream));
  };
  CHECK_EQ(carrel_stats_print(static_cast<carrel_format>(atoi(arguments[1])), write, stdout),
           CARREL_OK);
  for (void* block : blocks) free(block);
  free(large);
  return 0;
}
