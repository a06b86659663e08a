/* Makes a heap whose content it knows, writes that down, and waits until its input ends.
 *
 *   known_heap FILE       FILE: carrel's statistics as JSON, then the word "blocks", then a line
 *                         "live ADDRESS" or "freed ADDRESS" for every block of its own
 *   known_heap fill MIB   instead: so many MiB of blocks of 48 bytes, a third of them freed
 *   known_heap own FILE   instead: an arena with a pool of its own, and what it holds free there;
 *                         FILE as above
 *   known_heap orphan     instead: its first thread ends, another goes on
 *
 * It says "ready" on its output when nothing of the heap will change any more. Linked with carrel:
 * what it tests is how the heap looks from outside. */
#include <carrel/carrel.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { kSmall = 20000, kLarge = 6, kInArena = 500, kRemote = 4000 };

static void* small_blocks[kSmall];
static void* large_blocks[kLarge];
static void* arena_blocks[kInArena];
static void* remote_blocks[kRemote];
static unsigned char small_freed[kSmall];
static char buffer[1 << 16];

static void require(int holds) {
  if (!holds) abort();
}

/* Another thread allocates them, so that they belong to another shard where there is one. */
static void* make_remote(void* unused) {
  for (int i = 0; i < kRemote; ++i) remote_blocks[i] = malloc(40);
  return unused;
}

static size_t small_size(int i) {
  static const size_t sizes[] = {16, 24, 100, 512, 3000, 20000};
  return sizes[i % 6];
}

static void put(void* file, const char* text, size_t size) {
  require(fwrite(text, 1, size, (FILE*)file) == size);
}

static void wait_for_end(void) {
  char byte;
  require(write(STDOUT_FILENO, "ready\n", 6) == 6);
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
}

static void known(const char* name) {
  /* The only allocation of libc's that is not over before the program's own begin. */
  FILE* file = fopen(name, "w");
  require(file != NULL);
  setvbuf(file, buffer, _IOFBF, sizeof buffer);
  pthread_t thread;
  require(pthread_create(&thread, NULL, make_remote, NULL) == 0);
  require(pthread_join(thread, NULL) == 0);
  for (int i = 0; i < kSmall; ++i) {
    small_blocks[i] = malloc(small_size(i));
    memset(small_blocks[i], 1, small_size(i));
  }
  for (int i = 0; i < kLarge; ++i) {
    large_blocks[i] = malloc(((size_t)i + 1) * 300000);
    memset(large_blocks[i], 1, 300000);
  }
  carrel_arena* arena = carrel_arena_create();
  for (int i = 0; i < kInArena; ++i) arena_blocks[i] = carrel_arena_alloc(arena, 200);
  for (int i = 0; i < kSmall; i += 3) {
    small_freed[i] = 1;
    free(small_blocks[i]);
  }
  for (int i = 0; i < kRemote; i += 2) free(remote_blocks[i]);
  free(large_blocks[0]);
  /* Nothing is allocated or freed from here on. */
  require(carrel_stats_print(CARREL_JSON, put, file) == CARREL_OK);
  fprintf(file, "blocks\n");
  for (int i = 0; i < kSmall; ++i) {
    fprintf(file, "%s %p\n", small_freed[i] ? "freed" : "live", small_blocks[i]);
  }
  for (int i = 0; i < kRemote; ++i) {
    fprintf(file, "%s %p\n", i % 2 == 0 ? "freed" : "live", remote_blocks[i]);
  }
  for (int i = 0; i < kLarge; ++i) {
    fprintf(file, "%s %p\n", i == 0 ? "freed" : "live", large_blocks[i]);
  }
  for (int i = 0; i < kInArena; ++i) fprintf(file, "live %p\n", arena_blocks[i]);
  fflush(file);
  wait_for_end();
}

static void fill(size_t mib) {
  const size_t count = (mib << 20) / 48;
  void** blocks = malloc(count * sizeof(void*));
  for (size_t i = 0; i < count; ++i) {
    blocks[i] = malloc(48);
    *(char*)blocks[i] = 1;
  }
  for (size_t i = 0; i < count; i += 3) free(blocks[i]);
  wait_for_end();
}

static void own_pool(const char* name) {
  FILE* file = fopen(name, "w");
  require(file != NULL);
  setvbuf(file, buffer, _IOFBF, sizeof buffer);
  carrel_arena_options options = {.own_decay = 1, .decay_ms = 20000};
  carrel_arena* arena = NULL;
  require(carrel_arena_create_with(&options, sizeof options, &arena) == CARREL_OK);
  void* freed = carrel_arena_alloc(arena, 1 << 20);
  require(freed != NULL && carrel_arena_alloc(arena, 1 << 19) != NULL);
  free(freed);
  require(carrel_stats_print(CARREL_JSON, put, file) == CARREL_OK);
  fprintf(file, "blocks\n");
  fflush(file);
  wait_for_end();
}

static void* stay(void* first) {
  require(pthread_join(*(pthread_t*)first, NULL) == 0);
  for (int i = 0; i < kSmall; ++i) small_blocks[i] = malloc(100);
  wait_for_end();
  return NULL;
}

static void orphan(void) {
  static pthread_t self, other;
  self = pthread_self();
  require(pthread_create(&other, NULL, stay, &self) == 0);
  pthread_exit(NULL);
}

int main(int argc, char** argv) {
  require(argc >= 2);
  if (strcmp(argv[1], "fill") == 0) {
    fill(strtoul(argv[2], NULL, 10));
  } else if (strcmp(argv[1], "own") == 0) {
    own_pool(argv[2]);
  } else if (strcmp(argv[1], "orphan") == 0) {
    orphan();
  } else {
    known(argv[1]);
  }
  return 0;
}
