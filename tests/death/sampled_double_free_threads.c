/* Two threads free one sampled block at the same time. */
#include "death.h"

static pthread_barrier_t barrier;

static void* free_it(void* block) {
  pthread_barrier_wait(&barrier);
  free(block);
  return NULL;
}

int main(void) {
  char* block = sampled(100);
  misuse(block);
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) {
    if (pthread_create(&threads[i], NULL, free_it, block) != 0) return 3;
  }
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  return 0;
}
