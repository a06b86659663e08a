/* A block freed before a fork and again in the child, noticed when its thread ends. */
#include "death.h"

#include <signal.h>
#include <sys/wait.h>

static void* free_twice(void* block) {
  free(block);
  free(hidden(block));
  return NULL;
}

int main(void) {
  void* block = malloc(64);
  misuse(block);
  pid_t child = fork();
  if (child < 0) _exit(3);
  if (child == 0) {
    run_in_thread(free_twice, block);
    _exit(0);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) _exit(3);
  /* The child is where it happened: end as it did. */
  if (WIFSIGNALED(status)) kill(getpid(), WTERMSIG(status));
  return 0;
}
