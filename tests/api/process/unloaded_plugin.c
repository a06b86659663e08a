/* A library that has a carrel of its own linked in; what unloaded_host.c loads. */
#include <carrel/carrel.h>

int use_carrel(void) {
  void* block = carrel_malloc(100);
  carrel_free(block);
  return block != NULL;
}
