/* A process on the C library's malloc loads libcarrel.so late, with dlopen, and uses the
 * carrel_* functions found by dlsym: its thread-local storage must still fit, threads that
 * existed before must be able to use it, and malloc must stay the C library's.
 *
 * Usage: late_load PATH_OF_LIBRARY. Not linked with carrel. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <pthread.h>

#include "../support/check.h"
#include "../support/proc.h"

enum { kThreads = 8, kRounds = 3, kBlocks = 400 };

typedef struct {
  void* (*allocate)(size_t);
  void (*release)(void*);
  void* (*resize)(void*, size_t);
  size_t (*usable)(const void*);
  size_t (*purge)(void);
  const char* (*version)(void);
} Api;

static Api api;
static pthread_barrier_t loaded;

static void use_api(unsigned seed) {
  void* blocks[kBlocks];
  uint64_t random = seed * 77u + 1;
  for (int i = 0; i < kBlocks; i++) {
    size_t size = next_random(&random) % (i % 50 == 0 ? 300000 : 2000) + 1;
    blocks[i] = api.allocate(size);
    CHECK(blocks[i] != NULL);
    CHECK(api.usable(blocks[i]) >= size);
    memset(blocks[i], (int)seed, size);
  }
  for (int i = 0; i < kBlocks; i++) {
    CHECK_EQ(*(unsigned char*)blocks[i], seed);
    if (i % 5 == 0) {
      blocks[i] = api.resize(blocks[i], 5000);
      CHECK(blocks[i] != NULL);
      CHECK_EQ(*(unsigned char*)blocks[i], seed);
    }
    api.release(blocks[i]);
    /* The C library's heap beside it. */
    free(malloc((size_t)i));
  }
}

static void* early_thread(void* argument) {
  unsigned seed = (unsigned)(uintptr_t)argument;
  void* own = malloc(1000);
  pthread_barrier_wait(&loaded);
  use_api(seed);
  free(own);
  return NULL;
}

static void* late_thread(void* argument) {
  use_api((unsigned)(uintptr_t)argument);
  return NULL;
}

#define FIND(member, name)                       \
  do {                                           \
    *(void**)&api.member = dlsym(library, name); \
    CHECK(api.member != NULL);                   \
  } while (0)

static void* load(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    say(dlerror());
    say("\n");
  }
  CHECK(library != NULL);
  FIND(allocate, "carrel_malloc");
  FIND(release, "carrel_free");
  FIND(resize, "carrel_realloc");
  FIND(usable, "carrel_usable_size");
  FIND(purge, "carrel_purge");
  FIND(version, "carrel_version");
  return library;
}

static void check_malloc_is_foreign(void) {
  Dl_info of_malloc, of_carrel;
  CHECK(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &of_malloc) != 0);
  CHECK(dladdr(*(void**)&api.version, &of_carrel) != 0);
  CHECK(of_malloc.dli_fbase != of_carrel.dli_fbase);
}

int main(int argc, char** argv) {
  CHECK(argc == 2);
  pthread_t threads[kThreads];
  CHECK_EQ(pthread_barrier_init(&loaded, NULL, kThreads + 1), 0);
  for (uintptr_t t = 0; t < kThreads; t++) {
    CHECK_EQ(pthread_create(&threads[t], NULL, early_thread, (void*)(t + 1)), 0);
  }
  void* library = load(argv[1]);
  check_malloc_is_foreign();
  CHECK(api.version()[0] != '\0');
  pthread_barrier_wait(&loaded);
  for (int t = 0; t < kThreads; t++) CHECK_EQ(pthread_join(threads[t], NULL), 0);

  /* Closing it must not pull code from under threads that used it, and it can come back. */
  for (int round = 0; round < kRounds; round++) {
    for (uintptr_t t = 0; t < kThreads; t++) {
      CHECK_EQ(pthread_create(&threads[t], NULL, late_thread, (void*)(t + 20)), 0);
    }
    for (int t = 0; t < kThreads; t++) CHECK_EQ(pthread_join(threads[t], NULL), 0);
    use_api(50);
    api.purge();
    CHECK_EQ(dlclose(library), 0);
    sleep_ms(20);
    library = load(argv[1]);
  }
  return 0;
}
