/* A program that knows nothing of carrel: leaks some memory and frees the rest. For
 * check_profile_options.py, which looks for leak_here in the profile.
 *
 *   leaky         ends by itself
 *   leaky wait    writes a line when it has allocated, and ends when its input does
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void* volatile kept;

__attribute__((noinline)) void* leak_here(size_t size) {
  void* block = calloc(1, size);
  kept = block;
  return block;
}

__attribute__((noinline)) void* borrow_here(size_t size) {
  void* block = malloc(size);
  kept = block;
  return block;
}

int main(int argc, char** argv) {
  for (int i = 0; i < 100000; ++i) {
    if (leak_here(200) == NULL) return 1;
    free(borrow_here(300));
  }
  if (argc > 1 && strcmp(argv[1], "wait") == 0) {
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {
    }
  }
  return 0;
}
