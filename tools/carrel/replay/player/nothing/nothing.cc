// libcarrel-nothing: the allocator that costs nothing. It hands out the same memory over and over
// and frees nothing; a replay on it costs what the replay itself costs, which is then taken off. Of
// use to carrel-player alone, which never reads what it wrote into a block: no other program
// survives on it.
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define NOTHING_API extern "C" __attribute__((visibility("default")))

namespace {

constexpr size_t kRing = size_t{256} << 10;  // stays in a processor's cache
constexpr size_t kLarge = size_t{64} << 30;  // address space; only what is touched is memory
constexpr size_t kSmall = kRing / 8;
constexpr size_t kKept = size_t{256} << 20;

thread_local char* ring = nullptr;
thread_local size_t used = 0;
char* large = nullptr;
char* kept = nullptr;
size_t kept_used = 0;

char* map(size_t size) {
  void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<char*>(memory);
}

char* map_once(char*& place, size_t size) {
  char* found = __atomic_load_n(&place, __ATOMIC_ACQUIRE);
  if (found == nullptr) {
    // Two threads may map; what one of them loses is address space.
    found = map(size);
    __atomic_store_n(&place, found, __ATOMIC_RELEASE);
  }
  return found;
}

void* take(size_t size, size_t alignment) {
  if (size > kSmall || alignment > 4096) {
    char* const shared = map_once(large, kLarge);
    if (shared == nullptr || size > kLarge / 2) return nullptr;
    return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(shared) + alignment - 1) &
                                   -alignment);
  }
  if (ring == nullptr) ring = map(kRing);
  if (ring == nullptr) return nullptr;
  size_t start = (used + alignment - 1) & -alignment;
  if (start + size > kRing) start = 0;
  used = start + (size == 0 ? 1 : size);
  return ring + start;
}

}  // namespace

NOTHING_API void* malloc(size_t size) { return take(size, 16); }
NOTHING_API void free(void*) {}
NOTHING_API void* realloc(void*, size_t size) { return take(size, 16); }
NOTHING_API void* memalign(size_t alignment, size_t size) { return take(size, alignment); }
NOTHING_API void* aligned_alloc(size_t alignment, size_t size) { return take(size, alignment); }

// The player asks for one piece. An array is what the dynamic linker wants for a thread that
// starts: zeros, and its own.
NOTHING_API void* calloc(size_t count, size_t size) {
  if (count == 1) return take(size, 16);
  char* const memory = map_once(kept, kKept);
  const size_t bytes = (count * size + 15) & ~size_t{15};
  const size_t at = __atomic_fetch_add(&kept_used, bytes, __ATOMIC_RELAXED);
  return memory != nullptr && at + bytes <= kKept ? memory + at : nullptr;
}

NOTHING_API int posix_memalign(void** result, size_t alignment, size_t size) {
  *result = take(size, alignment);
  return *result != nullptr ? 0 : ENOMEM;
}
