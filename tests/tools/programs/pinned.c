/* Makes a heap in which few blocks keep much free memory, and whose content is known:
 *
 *   pinned        kPinning blocks from keep_one() stay live until the program ends, each among
 *                 kBetween freed ones from pass_one(), all of kBytes bytes and written to
 *
 * Two threads at the end, so that more than the first one's events count. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { kPinning = 2500, kBetween = 15, kBytes = 200, kWait_us = 300000 };

static void* kept[kPinning];
static void* passed[kPinning * kBetween];

__attribute__((noinline)) static void* keep_one(void) {
  void* block = malloc(kBytes);
  if (block == NULL) abort();
  memset(block, 1, kBytes);
  return block;
}

__attribute__((noinline)) static void* pass_one(void) {
  void* block = malloc(kBytes);
  if (block == NULL) abort();
  memset(block, 2, kBytes);
  return block;
}

static void* free_half(void* first) {
  void** blocks = (void**)first;
  for (int i = 0; i < kPinning * kBetween / 2; ++i) free(blocks[i]);
  return NULL;
}

int main(void) {
  for (int i = 0; i < kPinning; ++i) {
    kept[i] = keep_one();
    for (int j = 0; j < kBetween; ++j) passed[i * kBetween + j] = pass_one();
  }
  usleep(kWait_us);
  pthread_t thread;
  if (pthread_create(&thread, NULL, free_half, passed) != 0) abort();
  pthread_join(thread, NULL);
  free_half(passed + kPinning * kBetween / 2);
  return kept[0] == NULL;
}
