/* Blocks of carrel's functions and, unless it is built with OWN_FAMILY_ONLY, of libc's too, each
 * given back by either. An argument asks for a mistake, which memcheck has to find. */
#include <carrel/carrel.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef OWN_FAMILY_ONLY
#define malloc carrel_malloc
#define free carrel_free
#endif

static void must(int holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "blocks: %s\n", what);
  exit(3);
}

static void correct(size_t i) {
  char* own = carrel_malloc(60 + i);
  memset(own, 1, 60 + i);
  free(own);
  char* other = malloc(70 * i + 1);
  memset(other, 1, 70 * i + 1);
  carrel_free_sized(other, 70 * i + 1);
  char* zero = carrel_calloc(3, 400 * i + 1);
  for (size_t k = 0; k < 3 * (400 * i + 1); ++k) must(zero[k] == 0, "calloc does not zero");
  zero[5 % (400 * i + 1)] = 7;
  zero = carrel_realloc(zero, 1000 * i + 7);
  memset(zero, 2, 1000 * i + 7);
  free(zero);
  const size_t alignment = (size_t)32 << (i % 9);
  char* aligned = carrel_aligned_alloc(alignment, 100 * i + 1);
  must((uintptr_t)aligned % alignment == 0, "a block is not aligned");
  must(carrel_usable_size(aligned) >= 100 * i + 1, "a block is too small");
  aligned[100 * i] = 9;
  aligned = carrel_realloc_sized_aligned(aligned, 100 * i + 1, 150 * i + 2, alignment);
  must((uintptr_t)aligned % alignment == 0, "a resized block is not aligned");
  must(aligned[100 * i] == 9, "a resize lost contents");
  carrel_free(aligned);
}

int main(int count, char** arguments) {
  for (size_t i = 0; i < 40; ++i) correct(i);
  const char* mistake = count > 1 ? arguments[1] : "";
  char* volatile block = carrel_malloc(1234);
  memset(block, 1, 1234);
  volatile char kept = 0;
  if (strcmp(mistake, "overflow") == 0) block[1234] = 1;
  if (strcmp(mistake, "libc") == 0) {
    char* volatile libcs = malloc(99);
    libcs[0] = 1;
    free(libcs);
    kept = libcs[0];
  }
  if (strcmp(mistake, "leak") == 0) {
    block = NULL;
    return block != NULL;
  }
  carrel_free(block);
  if (strcmp(mistake, "after-free") == 0) kept = block[3];
  return kept == 5;
}
