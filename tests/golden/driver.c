// The program that golden.py runs under callgrind: it calls each entry point of the allocator that
// is preloaded in a steady state, and has the costs of each written out apart.
//
// For every operation it warms up, then performs it n times and 2n times; after each it asks
// callgrind for a dump labelled "name count". Only the calls themselves are collected, and each is
// made by measured_call, so that the cost of the edge out of that function is the cost of the
// entry point from its first instruction to its return, whatever its symbol is called. It judges
// nothing; golden.py subtracts, compares and prints. An operation that the allocator does not
// provide is named on standard output as "absent NAME".
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/callgrind.h>

// Any entry point, called with up to two integer arguments; those it ignores do no harm under the
// x86-64 and AArch64 calling conventions.
typedef uintptr_t (*Entry)(uintptr_t, uintptr_t);

enum { kBatch = 4, kWarmUpRounds = 4000 };

static Entry find(const char* name) {
  void* address = dlsym(RTLD_DEFAULT, name);
  Entry entry = NULL;
  memcpy(&entry, &address, sizeof entry);
  return entry;
}

// The only function whose outgoing calls are measured. Its own instructions are not counted.
__attribute__((noinline, noclone)) static uintptr_t measured_call(Entry entry, uintptr_t first,
                                                                  uintptr_t second) {
  uintptr_t result = entry(first, second);
  __asm__ volatile("" ::: "memory");  // no tail call: the edge must come from here
  return result;
}

// What an operation does with a block, besides the measured call.
enum Kind {
  kAllocates,  // measured: gives a block; then it is freed
  kFrees,      // a block is allocated; measured: takes it
  kKeeps,      // a block is allocated; measured: looks at it; then it is freed
  kResizes,    // a block is allocated; measured: may replace it; then it is freed
};

struct Operation {
  const char* label;
  const char* symbol;
  enum Kind kind;
  // The arguments; for operations on a block, `first` is ignored and the block passed.
  uintptr_t first;
  uintptr_t second;
  // Who provides and takes the block: must be of the same family as `symbol`.
  const char* allocate;
  const char* release;
};

static const struct Operation kOperations[] = {
    {"malloc(64)", "malloc", kAllocates, 64, 0, "malloc", "free"},
    {"free", "free", kFrees, 0, 0, "malloc", "free"},
    {"free_sized(64)", "free_sized", kFrees, 0, 64, "malloc", "free"},
    {"calloc(1,64)", "calloc", kAllocates, 1, 64, "malloc", "free"},
    {"realloc(64->60)", "realloc", kResizes, 0, 60, "malloc", "free"},
    {"aligned_alloc(64,64)", "aligned_alloc", kAllocates, 64, 64, "malloc", "free"},
    {"malloc_usable_size", "malloc_usable_size", kKeeps, 0, 0, "malloc", "free"},
    {"operator_new(64)", "_Znwm", kAllocates, 64, 0, "_Znwm", "_ZdlPv"},
    {"operator_delete", "_ZdlPv", kFrees, 0, 0, "_Znwm", "_ZdlPv"},
    {"operator_delete(64)", "_ZdlPvm", kFrees, 0, 64, "_Znwm", "_ZdlPv"},
    {"carrel_malloc(64)", "carrel_malloc", kAllocates, 64, 0, "carrel_malloc", "carrel_free"},
    {"carrel_free", "carrel_free", kFrees, 0, 0, "carrel_malloc", "carrel_free"},
    {"carrel_free_sized(64)", "carrel_free_sized", kFrees, 0, 64, "carrel_malloc", "carrel_free"},
};

// Performs the operation on kBatch blocks, fewer than any thread cache holds (glibc: 7 a class).
static void round_of(const struct Operation* operation, Entry entry, Entry allocate,
                     Entry release) {
  uintptr_t blocks[kBatch];
  if (operation->kind != kAllocates) {
    for (int i = 0; i < kBatch; ++i) blocks[i] = allocate(64, 0);
  }
  CALLGRIND_TOGGLE_COLLECT;
  for (int i = 0; i < kBatch; ++i) {
    uintptr_t first = operation->kind == kAllocates ? operation->first : blocks[i];
    uintptr_t result = measured_call(entry, first, operation->second);
    if (operation->kind == kAllocates || operation->kind == kResizes) blocks[i] = result;
  }
  CALLGRIND_TOGGLE_COLLECT;
  if (operation->kind != kFrees) {
    for (int i = 0; i < kBatch; ++i) release(blocks[i], 0);
  }
}

static void measure(const struct Operation* operation, int rounds) {
  Entry entry = find(operation->symbol);
  Entry allocate = find(operation->allocate);
  Entry release = find(operation->release);
  if (entry == NULL || allocate == NULL || release == NULL) {
    printf("absent %s\n", operation->label);
    return;
  }
  for (int i = 0; i < kWarmUpRounds; ++i) round_of(operation, entry, allocate, release);
  for (int factor = 1; factor <= 2; ++factor) {
    char label[128];
    snprintf(label, sizeof label, "golden %s %d", operation->label, factor * rounds * kBatch);
    CALLGRIND_ZERO_STATS;
    for (int i = 0; i < factor * rounds; ++i) round_of(operation, entry, allocate, release);
    CALLGRIND_DUMP_STATS_AT(label);
  }
}

int main(int argc, char** argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 0;
  if (rounds < 1) {
    fprintf(stderr, "driver: usage: driver ROUNDS (at least 1); golden.py runs it\n");
    return 2;
  }
  // Where malloc really comes from, so that golden.py can refuse a preload that did not take.
  Dl_info info;
  void* address = dlsym(RTLD_DEFAULT, "malloc");
  if (dladdr(address, &info) != 0) printf("malloc %s\n", info.dli_fname);
  fflush(stdout);
  for (size_t i = 0; i < sizeof kOperations / sizeof kOperations[0]; ++i) {
    measure(&kOperations[i], rounds);
  }
  return 0;
}
