/* What check_faults.py looks at: memory faults at fences and elsewhere, in programs with handlers
 * of their own and without. Usage: faults CASE */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>

#include "death.h"

static sigjmp_buf resume;
static volatile int handled;

static void on_fault(int number) {
  handled = number;
  siglongjmp(resume, 1);
}

static void handle_faults(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_fault;
  sigaction(SIGSEGV, &action, NULL);
}

/* A handler that hands on what it does not know, as those of run-time systems do. */
static struct sigaction former;
static volatile int chained;

static void hand_on(int number, siginfo_t* info, void* context) {
  chained = 1;
  if (write(STDOUT_FILENO, "handed on\n", 10) != 10) _exit(3);
  if ((former.sa_flags & SA_SIGINFO) != 0) {
    former.sa_sigaction(number, info, context);
  } else {
    signal(number, SIG_DFL);
  }
}

/* These three are looked for in stacks. */
__attribute__((noinline)) char* allocated_in_this_function(void) {
  char* block = sampled(100);
  __asm__ volatile("" : : : "memory");
  return block;
}
__attribute__((noinline)) void freed_in_this_function(char* block) {
  free(block);
  __asm__ volatile("" : : : "memory");
}
__attribute__((noinline)) int touched_in_this_function(volatile char* block) {
  int value = block[8];
  __asm__ volatile("" : : : "memory");
  return value;
}

static int overflow_stack(int depth) {
  volatile char frame[4096];
  frame[0] = (char)depth;
  if (depth < 0) return 0;
  return overflow_stack(depth + 1) + frame[0];
}

int main(int argc, char** argv) {
  const char* name = argc == 2 ? argv[1] : "";
  if (strcmp(name, "own-handler-first") == 0) {
    handle_faults();
    char* block = sampled(100);
    free(block);
    if (sigsetjmp(resume, 1) == 0) touched_in_this_function(block);
    struct sigaction now;
    sigaction(SIGSEGV, NULL, &now);
    printf("%s\n", handled == SIGSEGV && now.sa_handler == on_fault ? "handled" : "not handled");
    return 0;
  }
  char* block = allocated_in_this_function();
  if (strcmp(name, "own-handler-later") == 0) {
    handle_faults();
    free(block);
    if (sigsetjmp(resume, 1) == 0) touched_in_this_function(block);
    printf("%s\n", handled == SIGSEGV ? "handled" : "not handled");
    return 0;
  }
  if (strcmp(name, "handed-on") == 0 || strcmp(name, "handed-on-null") == 0) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = hand_on;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, &former);
    free(block);
    return touched_in_this_function(strcmp(name, "handed-on") == 0 ? block : (char*)hidden(NULL));
  }
  if (strcmp(name, "null") == 0) return touched_in_this_function((char*)hidden(NULL));
  if (strcmp(name, "raised") == 0) return raise(SIGSEGV);
  if (strcmp(name, "stack") == 0) return overflow_stack(0) != 0;
  if (strcmp(name, "system-call") == 0) {
    free(block);
    int zero = open("/dev/zero", O_RDONLY);
    printf("%s\n", read(zero, hidden(block), 8) == -1 && errno == EFAULT ? "EFAULT" : "read");
    return 0;
  }
  if (strcmp(name, "after-free") == 0) {
    freed_in_this_function(block);
    return touched_in_this_function(block);
  }
  if (strcmp(name, "double-free") == 0) {
    freed_in_this_function(block);
    freed_in_this_function((char*)hidden(block));
  }
  if (strcmp(name, "invalid-free") == 0) freed_in_this_function((char*)hidden(&resume));
  return 0;
}
