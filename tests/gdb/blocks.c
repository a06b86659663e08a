/* Makes blocks of every kind and stops: gdb_test.py looks at them. */
#include <carrel/carrel.h>
#include <stdlib.h>

__attribute__((noinline)) void stop_here(void* live, void* freed, void* large, void* in_arena) {
  __asm__ volatile("" : : "r"(live), "r"(freed), "r"(large), "r"(in_arena) : "memory");
}

int main(void) {
  void* live = malloc(100);
  void* freed = malloc(100);
  void* large = malloc(1000000);
  carrel_arena* arena = carrel_arena_create();
  void* in_arena = carrel_arena_alloc(arena, 2000);
  free(freed);
  stop_here(live, freed, large, in_arena);
  carrel_arena_destroy(arena);
  free(large);
  free(live);
  return 0;
}
