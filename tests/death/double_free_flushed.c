/* A small block freed twice, noticed when the full cache is flushed. */
#include "death.h"

int main(void) {
  static void* blocks[kFlushBlocks];
  allocate_for_flush(blocks, 64);
  void* block = malloc(64);
  misuse(block);
  free(block);
  free(hidden(block));
  flush_by_frees(blocks);
  return 0;
}
