/* A program that knows nothing of carrel and does what its input says, a line each:
 *
 *   leak N    leaks N blocks of 200 bytes, by leak_here
 *   fork      makes a child, which says its number and waits until this process ends
 *   close     closes every file but the first three, as daemons do
 *   open      opens files until it has twenty
 *
 * It says "ready" at its start, and after each line "done", or what is said above. With
 * OWN_FUNCTIONS it does know carrel: a block of 100,000 bytes comes from carrel_malloc. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef OWN_FUNCTIONS
#include <carrel/carrel.h>
#endif

static void* volatile kept;

__attribute__((noinline)) void* leak_here(size_t size) {
  void* block = calloc(1, size);
  kept = block;
  return block;
}

static void say(const char* word) {
  puts(word);
  fflush(stdout);
}

/* Nobody writes to it: reading ends when the last who might is gone. */
static int alive[2];

static void make_child(void) {
  if (fork() != 0) return;
  char byte;
  close(alive[1]);
  printf("%d\n", (int)getpid());
  fflush(stdout);
  while (read(alive[0], &byte, 1) > 0) {
  }
  _exit(0);
}

int main(void) {
  if (pipe(alive) != 0) return 1;
#ifdef OWN_FUNCTIONS
  kept = carrel_malloc(100000);
#endif
  char line[64];
  say("ready");
  while (fgets(line, sizeof line, stdin) != NULL) {
    if (strncmp(line, "leak ", 5) == 0) {
      for (int i = atoi(line + 5); i > 0; --i) {
        if (leak_here(200) == NULL) return 1;
      }
      say("done");
    } else if (strcmp(line, "fork\n") == 0) {
      make_child();
    } else if (strcmp(line, "close\n") == 0) {
      for (int file = 3; file < 1024; ++file) close(file);
      say("done");
    } else if (strcmp(line, "open\n") == 0) {
      for (int i = 0; i < 20; ++i) {
        if (open("/dev/null", O_RDONLY) < 0) return 1;
      }
      say("done");
    }
  }
  return 0;
}
