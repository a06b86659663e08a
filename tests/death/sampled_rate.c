/* What sampled_rate.py runs: a program with a bug in a block of 64 bytes, met COUNT times among
 * ordinary requests. Usage: sampled_rate after-free|behind|before COUNT */
#include "death.h"

int main(int argc, char** argv) {
  if (argc != 3) return 3;
  const char* bug = argv[1];
  const long count = atol(argv[2]);
  enum { kLive = 64 };
  char* live[kLive] = {NULL};
  unsigned seed = (unsigned)getpid();
  volatile char sink = 0;
  for (long i = 0; i < count; i++) {
    for (int j = 0; j < 3; j++) {
      seed = seed * 1664525u + 1013904223u;
      char** place = &live[(seed >> 16) % kLive];
      free(*place);
      *place = (char*)malloc(16 + (seed >> 8) % 500);
    }
    char* block = (char*)malloc(64);
    if (block == NULL) return 3;
    if (strcmp(bug, "behind") == 0) sink = ((volatile char*)hidden(block))[64];
    if (strcmp(bug, "before") == 0) sink = ((volatile char*)hidden(block))[-1];
    free(block);
    if (strcmp(bug, "after-free") == 0) sink = ((volatile char*)hidden(block))[8];
  }
  return sink == 1 ? 0 : 0;
}
