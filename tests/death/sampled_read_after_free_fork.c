/* A child after fork is told the same, of its parent's blocks too. */
#include <signal.h>
#include <sys/wait.h>

#include "death.h"

int main(void) {
  char* block = sampled(100);
  misuse(block);
  pid_t child = fork();
  if (child == 0) {
    free(block);
    _exit(((volatile char*)hidden(block))[8]);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) return 3;
  if (WIFSIGNALED(status)) {
    signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
  }
  return 0;
}
