/* A whole C program for static linking (glibc -static and -static-pie, musl): carrel must
 * be the allocator, through threads, thread exit, key destructors, fork and stdio.
 *
 * Uses nothing beyond POSIX, so that one source serves both C libraries. */
#include <pthread.h>

#include "../support/check.h"
#include "../support/child.h"

#include <carrel/carrel.h>

enum { kThreads = 8, kBlocks = 2000 };

static void* shared_blocks[kThreads][kBlocks];
static pthread_key_t key;

static void key_destructor(void* value) {
  free(value);
  void* block = malloc(4000);
  CHECK(block != NULL);
  free(block);
}

static void* thread_main(void* argument) {
  unsigned index = (unsigned)(uintptr_t)argument;
  uint64_t random = index + 1;
  CHECK_EQ(pthread_setspecific(key, malloc(100)), 0);
  for (int i = 0; i < kBlocks; i++) {
    size_t size = next_random(&random) % (i % 100 == 0 ? 200000 : 1500) + 4;
    unsigned char* block = (unsigned char*)malloc(size);
    CHECK(block != NULL);
    memset(block, (int)index, size);
    shared_blocks[index][i] = block;
  }
  return NULL;
}

static void run_threads(void) {
  pthread_t threads[kThreads];
  for (int round = 0; round < 5; round++) {
    for (uintptr_t t = 0; t < kThreads; t++) {
      CHECK_EQ(pthread_create(&threads[t], NULL, thread_main, (void*)t), 0);
    }
    for (int t = 0; t < kThreads; t++) CHECK_EQ(pthread_join(threads[t], NULL), 0);
    for (int t = 0; t < kThreads; t++) {
      for (int i = 0; i < kBlocks; i++) {
        CHECK_EQ(((unsigned char*)shared_blocks[t][i])[3], t);
        free(shared_blocks[t][i]);
      }
    }
  }
}

static void check_override(void) {
  /* Each is carrel's: carrel would end the process on a pointer that is not. */
  void* block = malloc(100);
  CHECK(block != NULL);
  CHECK_EQ(carrel_usable_size(block), carrel_good_size(100));
  carrel_free(block);
  block = calloc(10, 10);
  CHECK_EQ(carrel_usable_size(block), carrel_good_size(100));
  block = realloc(block, 100000);
  CHECK_EQ(carrel_usable_size(block), carrel_good_size(100000));
  carrel_free(block);
  CHECK_EQ(posix_memalign(&block, 4096, 100), 0);
  CHECK_EQ((uintptr_t)block % 4096, 0);
  carrel_free(block);
  block = aligned_alloc(64, 640);
  CHECK_EQ((uintptr_t)block % 64, 0);
  carrel_free(block);
  char* copy = strdup("allocated by the C library");
  CHECK_GE(carrel_usable_size(copy), 27);
  free(copy);
  free(carrel_malloc(1000));
  errno = 0;
  CHECK(malloc(opaque_size(SIZE_MAX / 2 + 1)) == NULL);
  CHECK_EQ(errno, ENOMEM);
}

static void run_fork(void) {
  for (int i = 0; i < 20; i++) {
    void* block = malloc(5000);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      free(block);
      run_threads();
      _exit(0);
    }
    free(block);
    expect_success(child, 20);
  }
}

int main(void) {
  check_override();
  CHECK_EQ(pthread_key_create(&key, key_destructor), 0);
  run_threads();
  run_fork();
  check_override();
  char version[32];
  snprintf(version, sizeof version, "%d.%d.%d", CARREL_VERSION_MAJOR, CARREL_VERSION_MINOR,
           CARREL_VERSION_PATCH);
  CHECK(strcmp(carrel_version(), version) == 0);
  printf("carrel %s\n", version);
  return 0;
}
