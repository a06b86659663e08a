/* Allocation before main: in the program's .preinit_array and in constructors of every
 * priority. What was allocated there must be intact and freeable in main. */
#include "../support/check.h"
#include "../support/override.h"

enum { kBlocks = 64 };

typedef struct {
  void* blocks[kBlocks];
  int count;
} Stage;

static Stage preinit_stage, first_stage, late_stage;

static size_t size_of(int index) { return index % 16 == 15 ? 200000 : (size_t)(index * 37 + 1); }

static void allocate_stage(Stage* stage) {
  for (int i = 0; i < kBlocks; i++) {
    size_t size = size_of(i);
    void* block = i % 3 == 0 ? calloc(1, size) : malloc(size);
    if (block == NULL) return;
    unsigned char* bytes = (unsigned char*)block;
    for (size_t b = 0; b < size; b++) bytes[b] = (unsigned char)(i + 1);
    /* Some frees too: they may be the first thing a cache sees. */
    void* other = malloc(size);
    free(other);
    stage->blocks[i] = block;
    stage->count++;
  }
}

static void check_and_free_stage(Stage* stage) {
  CHECK_EQ(stage->count, kBlocks);
  for (int i = 0; i < kBlocks; i++) {
    unsigned char* bytes = (unsigned char*)stage->blocks[i];
    for (size_t b = 0; b < size_of(i); b++) CHECK_EQ(bytes[b], i + 1);
    if (i % 2 == 0) {
      bytes = (unsigned char*)realloc(bytes, size_of(i) * 2);
      CHECK(bytes != NULL);
      CHECK_EQ(bytes[size_of(i) - 1], i + 1);
    }
    free(bytes);
  }
}

static void in_preinit(int argc, char** argv, char** envp) {
  (void)argc;
  (void)argv;
  (void)envp;
  allocate_stage(&preinit_stage);
}

__attribute__((section(".preinit_array"),
               used)) static void (*const preinit_entry)(int, char**, char**) = in_preinit;

__attribute__((constructor(101))) static void first_constructor(void) {
  allocate_stage(&first_stage);
}

__attribute__((constructor)) static void late_constructor(void) { allocate_stage(&late_stage); }

__attribute__((destructor(101))) static void last_destructor(void) {
  void* block = malloc(1000);
  CHECK(block != NULL);
  free(block);
}

int main(void) {
  require_override();
  check_and_free_stage(&preinit_stage);
  check_and_free_stage(&first_stage);
  check_and_free_stage(&late_stage);
  return 0;
}
