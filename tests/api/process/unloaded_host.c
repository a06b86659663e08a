/* Loads a library that has a carrel linked in, uses it, unloads it, and forks: nothing of it may be
 * called any more. Has no carrel itself.
 *
 *   unloaded_host PLUGIN */
#include <dlfcn.h>
#include <sys/wait.h>

#include "../support/check.h"

int main(int argc, char** argv) {
  CHECK(argc == 2);
  void* plugin = dlopen(argv[1], RTLD_NOW);
  CHECK(plugin != NULL);
  int (*use_carrel)(void) = (int (*)(void))dlsym(plugin, "use_carrel");
  CHECK(use_carrel != NULL && use_carrel());
  CHECK(dlclose(plugin) == 0);
  CHECK(dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD) == NULL);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) _exit(0);
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  return 0;
}
