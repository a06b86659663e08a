// Requests that must not succeed, blocks of no bytes, and memory that must not be run.
#include <malloc.h>

#include "promise.h"

namespace {

/// A request that was granted is harm; the memory is not there.
int refused(void* block) { return hidden(block) == nullptr ? kHarmless : kHarmed; }

int beyond_ptrdiff(std::size_t) {
  arm();
  return refused(malloc(hidden(std::size_t{PTRDIFF_MAX} + 1)));
}

int largest(std::size_t size) {
  arm();
  return refused(malloc(hidden(SIZE_MAX - size % 4096)));
}

int aligned_largest(std::size_t size) {
  arm();
  return refused(memalign(4096, hidden(SIZE_MAX - size % 4096)));
}

int realloc_largest(std::size_t size) {
  char* block = filled(size);
  arm();
  if (refused(realloc(block, hidden(SIZE_MAX - size % 4096))) == kHarmed) return kHarmed;
  return block[0] == 0x5A ? kHarmless : kHarmed;
}

int calloc_overflow(std::size_t size) {
  arm();
  return refused(calloc(hidden(SIZE_MAX / size + 1), size));
}

int reallocarray_overflow(std::size_t size) {
  char* block = filled(size);
  arm();
  return refused(reallocarray(block, hidden(SIZE_MAX / size + 1), size));
}

/// A block of no bytes has none that could be written. The others are freed too.
int zero_write(std::size_t) {
  char* blocks[kNeighbours];
  for (char*& block : blocks) block = static_cast<char*>(malloc(0));
  if (blocks[3] == nullptr) return kNotApplicable;
  arm();
  hidden(blocks[3])[0] = 0x41;
  for (char* block : blocks) free(block);
  return kHarmed;
}

/// Nor read. What was there before must not show.
int zero_read(std::size_t) {
  char* old[kNeighbours];
  for (char*& block : old) block = filled(16, 0x5A);
  for (char* block : old) free(block);
  arm();
  for (int i = 0; i < 2 * kNeighbours; ++i) {
    auto* block = static_cast<char*>(malloc(0));
    if (block == nullptr) return kNotApplicable;
    if (hidden(block)[0] == 0x5A) return kHarmed;
  }
  return kHarmless;
}

/// Runs what was written to a block: a bare return.
int run_block(std::size_t size) {
  char* block = filled(size);
#if defined(__x86_64__)
  const unsigned char code[] = {0xC3};
#elif defined(__aarch64__)
  const unsigned char code[] = {0xC0, 0x03, 0x5F, 0xD6};
#else
  return kNotApplicable;
#endif
  memcpy(block, code, sizeof code);
  __builtin___clear_cache(block, block + sizeof code);
  arm();
  void (*function)() = nullptr;
  memcpy(&function, &block, sizeof function);
  function();
  return kHarmed;
}

}  // namespace

const Case kRequestCases[] = {
    {"size-beyond-ptrdiff", beyond_ptrdiff},
    {"size-largest", largest},
    {"aligned-size-largest", aligned_largest},
    {"realloc-size-largest", realloc_largest},
    {"calloc-overflow", calloc_overflow},
    {"reallocarray-overflow", reallocarray_overflow},
    {"zero-size-write", zero_write},
    {"zero-size-read", zero_read},
    {"run-block", run_block},
    {nullptr, nullptr},
};
