// Proves which allocator serves this program, and that the installed library is the one that the
// installed header belongs to. It tests nothing else of the API.
//
//   prove shared    malloc and free lie in libcarrel.so
//   prove static    malloc and free lie in this executable
//   prove prefixed  malloc is the system's, carrel's functions work beside it
//   prove wholly-static  as static, in a program without a dynamic linker
//
// Exit status 0 when it is so; otherwise 1 and a line that says what is not.
#define _GNU_SOURCE
#include <carrel/carrel.h>
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char* what, const char* detail) {
  printf("FAIL: %s: %s\n", what, detail);
  exit(1);
}

// The file that holds the function which a library loaded later would get for `name`.
static const char* file_of(const char* name) {
  void* address = dlsym(RTLD_DEFAULT, name);
  if (address == NULL) fail("no such symbol", name);
  Dl_info info;
  if (dladdr(address, &info) == 0) fail("dladdr knows nothing of", name);
  printf("%s is in %s\n", name, info.dli_fname);
  return info.dli_fname;
}

static int is_libcarrel(const char* path) {
  const char* slash = strrchr(path, '/');
  const char* base = slash != NULL ? slash + 1 : path;
  return strncmp(base, "libcarrel.so", strlen("libcarrel.so")) == 0 ||
         strncmp(base, "libcarrel-secure.so", strlen("libcarrel-secure.so")) == 0;
}

static void prove_symbol(const char* how, const char* name, const char* program) {
  const char* file = file_of(name);
  if (strcmp(how, "shared") == 0 && !is_libcarrel(file)) fail("not from libcarrel.so", name);
  if (strcmp(how, "static") == 0 && strcmp(file, program) != 0) fail("not ours", name);
  if (strcmp(how, "prefixed") == 0 && (is_libcarrel(file) || strcmp(file, program) == 0)) {
    fail("overridden by the prefixed library", name);
  }
}

int main(int argc, char** argv) {
  const char* how = argc > 1 ? argv[1] : "";
  int wholly_static = strcmp(how, "wholly-static") == 0;
  if (!wholly_static && strcmp(how, "shared") != 0 && strcmp(how, "static") != 0 &&
      strcmp(how, "prefixed") != 0) {
    fail("usage", "prove shared|static|prefixed|wholly-static");
  }
  if (!wholly_static) {
    Dl_info self;
    if (dladdr((void*)(uintptr_t)&main, &self) == 0) fail("dladdr knows nothing of", "main");
    prove_symbol(how, "malloc", self.dli_fname);
    prove_symbol(how, "free", self.dli_fname);
  }

  char version[32];
  snprintf(version, sizeof version, "%d.%d.%d", CARREL_VERSION_MAJOR, CARREL_VERSION_MINOR,
           CARREL_VERSION_PATCH);
  printf("carrel_version %s\n", carrel_version());
  if (strcmp(version, carrel_version()) != 0) fail("header and library differ", version);

  // carrel refuses a pointer that isn't its own, so the mixed pair proves that malloc is carrel's.
  char* block = strcmp(how, "prefixed") == 0 ? carrel_malloc(1000) : malloc(1000);
  if (block == NULL) fail("no memory", "1000 bytes");
  memset(block, 0x5a, 1000);
  if (carrel_usable_size(block) < 1000) fail("usable size", "below what was asked for");
  carrel_free(block);
  puts("ok");
  return 0;
}
