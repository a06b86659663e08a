/* The prefixed library in a C program: carrel_* work while malloc stays the C library's. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <carrel/carrel.h>
#include <dlfcn.h>
#include <pthread.h>

#include "../support/check.h"

static void* thread_main(void* argument) {
  (void)argument;
  void* blocks[500];
  for (size_t i = 0; i < 500; i++) {
    blocks[i] = i % 2 == 0 ? carrel_malloc(i * 10) : carrel_calloc(i, 8);
    CHECK(blocks[i] != NULL);
    CHECK(carrel_usable_size(blocks[i]) >= i * 8);
  }
  for (size_t i = 0; i < 500; i++) carrel_free(blocks[i]);
  return NULL;
}

int main(void) {
  Dl_info of_malloc, of_carrel;
  CHECK(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &of_malloc) != 0);
  CHECK(dladdr((void*)&carrel_version, &of_carrel) != 0);
  CHECK(of_malloc.dli_fbase != of_carrel.dli_fbase);
  pthread_t threads[4];
  for (int t = 0; t < 4; t++) CHECK_EQ(pthread_create(&threads[t], NULL, thread_main, NULL), 0);
  for (int t = 0; t < 4; t++) CHECK_EQ(pthread_join(threads[t], NULL), 0);

  char* block = (char*)carrel_malloc(100);
  CHECK(block != NULL);
  memset(block, 'p', 100);
  block = (char*)carrel_realloc(block, 5000000);
  CHECK(block != NULL);
  CHECK(block[99] == 'p');
  carrel_free_sized(block, 5000000);
  block = (char*)carrel_aligned_alloc(4096, 10);
  CHECK((uintptr_t)block % 4096 == 0);
  block = (char*)carrel_realloc_sized_aligned(block, 10, 20000, 4096);
  CHECK((uintptr_t)block % 4096 == 0);
  carrel_free_sized_aligned(block, 20000, 4096);
  CHECK(carrel_good_size(100) >= 100);
  carrel_purge();
  CHECK(carrel_set_option("no_such_key", "1") == 0);
  CHECK_EQ(errno, EINVAL);
  return 0;
}
