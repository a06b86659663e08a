/* The smallest program that allocates: prints its resident KiB after one block, or as many of
 * different sizes as its argument says, up to 16.
 *
 * Built without carrel; compare_trivial_rss.py runs it with and without the library. */
#include "../support/check.h"
#include "../support/proc.h"

int main(int argc, char** argv) {
  void* blocks[16];
  const size_t count = argc > 1 ? (size_t)atoi(argv[1]) : 1;
  CHECK(count <= 16);
  for (size_t i = 0; i < count; i++) {
    blocks[i] = malloc(16 + i * 40);
    CHECK(blocks[i] != NULL);
    memset(blocks[i], 1, 16 + i * 40);
  }
  for (size_t i = 0; i < count; i++) free(blocks[i]);
  printf("%ld\n", rss_kib());
  return 0;
}
