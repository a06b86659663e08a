/* The smallest program that allocates: prints its resident KiB after a few blocks.
 *
 * Built without carrel; compare_trivial_rss.py runs it with and without the library. */
#include "../support/check.h"
#include "../support/proc.h"

int main(void) {
  void* blocks[16];
  for (size_t i = 0; i < 16; i++) {
    blocks[i] = malloc(16 + i * 40);
    CHECK(blocks[i] != NULL);
    memset(blocks[i], 1, 16 + i * 40);
  }
  for (size_t i = 0; i < 16; i++) free(blocks[i]);
  printf("%ld\n", rss_kib());
  return 0;
}
