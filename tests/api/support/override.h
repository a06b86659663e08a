/* Proof that a test talks to carrel: malloc must come from the module that holds
 * carrel_version (libcarrel.so, or the executable when linked statically).
 *
 * Every dynamic test program calls require_override() first; exit status 2 and one line
 * say that it would otherwise have tested another allocator. Fully static programs use
 * require_override_static(). C11 and C++20. */
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <carrel/carrel.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The base address of the module in which a symbol resolves, null when there is none. */
static inline void* module_of_symbol(const char* name, const char** path) {
  void* address = dlsym(RTLD_DEFAULT, name);
  Dl_info info;
  if (address == NULL || dladdr(address, &info) == 0) return NULL;
  if (path != NULL) *path = info.dli_fname;
  return info.dli_fbase;
}

/* The module that holds carrel: by name when it is a shared library, else by address. */
static inline void* module_of_carrel(void) {
  Dl_info info;
  void* module = module_of_symbol("carrel_version", NULL);
  if (module != NULL) return module;
  return dladdr((void*)&carrel_version, &info) != 0 ? info.dli_fbase : NULL;
}

static inline void require_override(void) {
  const char* path = "nowhere";
  void* module = module_of_symbol("malloc", &path);
  if (module == NULL || module != module_of_carrel()) {
    fprintf(stderr,
            "malloc resolves into %s, not into carrel: nothing was tested; link carrel "
            "before libc\n",
            path);
    _exit(2);
  }
}

/* Without a dynamic symbol table: a block from malloc is one that carrel knows, and
 * freeing it through carrel is neither refused nor seen twice. */
static inline void require_override_static(void) {
  void* block = malloc(100);
  if (block == NULL || carrel_usable_size(block) != carrel_good_size(100) ||
      strlen(carrel_version()) == 0) {
    fprintf(stderr, "malloc is not carrel's: nothing was tested\n");
    _exit(2);
  }
  carrel_free(block);
}
