/* An allocator that is wrong on purpose: now and then it hands out a block that is still in use. It
 * exists for one test, which shows that the workloads notice. It frees nothing, so that no other
 * check ends the program first, and it is not thread safe. */
#include <stddef.h>
#include <string.h>

enum { kHeap = 64 << 20, kEvery = 1000, kLookBack = 16 };

static _Alignas(64) unsigned char heap[kHeap];
static size_t used;
static size_t calls;
static struct {
  void* block;
  size_t size;
} recent[kLookBack];

void* malloc(size_t size) {
  calls++;
  if (calls % kEvery == 0) {
    for (size_t i = 0; i < kLookBack; i++) {
      if (recent[i].block != NULL && recent[i].size >= size) return recent[i].block;
    }
  }
  const size_t rounded = (size + 31) / 16 * 16;
  if (used + rounded > kHeap) return NULL;
  void* block = heap + used;
  used += rounded;
  recent[calls % kLookBack].block = block;
  recent[calls % kLookBack].size = size;
  return block;
}

void free(void* block) { (void)block; }

void* calloc(size_t count, size_t size) {
  if (size != 0 && count > kHeap / size) return NULL;
  void* block = malloc(count * size);
  return block == NULL ? NULL : memset(block, 0, count * size);
}

/* The old size is unknown; the heap behind the old block is readable, which is all that is needed.
 */
void* realloc(void* block, size_t size) {
  void* moved = malloc(size);
  if (moved != NULL && block != NULL) memmove(moved, block, size);
  return moved;
}
