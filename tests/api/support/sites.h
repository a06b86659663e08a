// Functions that allocate and can be told apart in a profile: they lie in a section of their own,
// whose bounds are printed for the test to look in.
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define SITE extern "C" __attribute__((noinline, noclone, section("profile_sites")))
extern "C" char __start_profile_sites[];
extern "C" char __stop_profile_sites[];

#define SITE_OF(name, call)                       \
  SITE void* name(size_t size) {                  \
    void* block = call;                           \
    __asm__ volatile("" ::"r"(block) : "memory"); \
    return block;                                 \
  }

inline void print_sites() {
  printf("range %#lx %#lx\n", reinterpret_cast<unsigned long>(__start_profile_sites),
         reinterpret_cast<unsigned long>(__stop_profile_sites));
}
