// A program that spends its time in the allocator, most of it in one place: large blocks that
// calloc must clear. With `fork` a child does the same and then becomes another program.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void* volatile sink;

__attribute__((noinline)) static void heavy(void) {
  void* block = calloc(1, 100000);
  sink = block;
  free(block);
}

__attribute__((noinline)) static void light(void) {
  void* block = malloc(100);
  sink = block;
  free(block);
}

static void* work(void* argument) {
  (void)argument;
  for (int i = 0; i < 4000; ++i) {
    light();
    heavy();
  }
  return NULL;
}

int main(int argc, char** argv) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, work, NULL) != 0) return 1;
  work(NULL);
  pthread_join(thread, NULL);
  if (argc > 1 && strcmp(argv[1], "fork") == 0) {
    const pid_t child = fork();
    if (child == 0) {
      work(NULL);
      execl(argv[0], argv[0], NULL);
      _exit(1);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0) return 1;
  }
  return 0;
}
