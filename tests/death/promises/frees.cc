// Frees that are none: twice, of what is no block, or with a size or alignment that is wrong; and
// realloc and malloc_usable_size of such pointers. After each, the program allocates on for a
// while: harm was done if two owners then share memory, or a size was given for what is no block.
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>

#include <new>

#include "promise.h"

namespace {

/// What the program still owns, filled with 0x5A: `bytes` at `memory`.
struct Owned {
  const char* memory = nullptr;
  std::size_t bytes = 0;
};

/// Goes on as a program would; whatever notices the misuse late has its chance. Every block is
/// filled with a value of its own: harm shows as a block that holds another one's.
int carry_on(std::size_t size, Owned owned = {}) {
  Verdict verdict = kHarmless;
  for (int round = 0; round < 4; ++round) {
    char* blocks[2 * kNeighbours];
    for (int i = 0; i < 2 * kNeighbours; ++i) blocks[i] = filled(size, i);
    for (int i = 0; i < 2 * kNeighbours; ++i) {
      if (!intact(blocks[i], size, static_cast<char>(i))) verdict = kHarmed;
    }
    if (!intact(owned.memory, owned.bytes, 0x5A)) verdict = kHarmed;
    if (verdict == kHarmed) return verdict;
    for (char* block : blocks) free(block);
  }
  return verdict;
}

int twice(std::size_t size) {
  char* block = filled(size);
  arm();
  free(block);
  free(hidden(block));
  return carry_on(size);
}

int twice_delayed(std::size_t size) {
  char* block = filled(size);
  char* others[kNeighbours];
  for (char*& other : others) other = filled(size);
  arm();
  free(block);
  for (char* other : others) free(other);
  free(hidden(block));
  return carry_on(size);
}

int twice_interleaved(std::size_t size) {
  char* a = filled(size);
  char* b = filled(size);
  arm();
  free(a);
  free(b);
  free(hidden(a));
  return carry_on(size);
}

/// Between the two frees a block of the same size is allocated: it may be the same one.
int twice_after_malloc(std::size_t size) {
  char* block = filled(size);
  arm();
  free(block);
  char* next = filled(size);
  free(hidden(block));
  return carry_on(size, {next, size});
}

void* free_it(void* block) {
  free(hidden(block));
  return nullptr;
}

int twice_other_thread(std::size_t size) {
  char* block = filled(size);
  arm();
  free(block);
  pthread_t thread;
  if (pthread_create(&thread, nullptr, free_it, block) != 0) return kNotReached;
  pthread_join(thread, nullptr);
  return carry_on(size);
}

int twice_delete(std::size_t size) {
  void* block = hidden(::operator new(size));
  memset(block, 1, size);
  arm();
  ::operator delete(block);
  ::operator delete(hidden(block));
  return carry_on(size);
}

int realloc_freed(std::size_t size) {
  char* block = filled(size);
  arm();
  free(block);
  auto* moved = static_cast<char*>(realloc(hidden(block), size + size / 2));
  if (moved == nullptr) return carry_on(size);
  memset(moved, 0x5A, size);
  return carry_on(size, {moved, size});
}

int usable_size_freed(std::size_t size) {
  char* block = filled(size);
  arm();
  free(block);
  return malloc_usable_size(hidden(block)) != 0 ? kHarmed : kHarmless;
}

/// What a pointer that is no block's start is handed to.
enum class To { kFree, kRealloc, kUsableSize };

int hand_in(char* pointer, To to, std::size_t size, Owned owned) {
  arm();
  if (to == To::kUsableSize) return malloc_usable_size(hidden(pointer)) != 0 ? kHarmed : kHarmless;
  if (to == To::kFree) free(hidden(pointer));
  if (to == To::kRealloc) hidden(realloc(hidden(pointer), size));
  return carry_on(size, owned);
}

template <To kTo>
int interior(std::size_t size) {
  char* block = filled(size);
  return hand_in(block + 16, kTo, size, {block, size});
}

int misaligned(std::size_t size) {
  char* block = filled(size);
  return hand_in(block + 1, To::kFree, size, {block, size});
}

template <To kTo>
int on_stack(std::size_t size) {
  alignas(64) char local[256];
  memset(local, 0x5A, sizeof local);
  return hand_in(local + 64, kTo, size, {local, sizeof local});
}

template <To kTo>
int in_static_data(std::size_t size) {
  alignas(64) static char data[256];
  memset(data, 0x5A, sizeof data);
  return hand_in(data + 64, kTo, size, {data, sizeof data});
}

int foreign_mapping(std::size_t size) {
  void* mapping =
      mmap(nullptr, size + 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return kNotReached;
  memset(mapping, 0x5A, size + 65536);
  return hand_in(static_cast<char*>(mapping) + 4096, To::kFree, size,
                 {static_cast<char*>(mapping), size + 65536});
}

int wild(std::size_t size) {
  return hand_in(reinterpret_cast<char*>(std::uintptr_t{0x123456789AB0}), To::kFree, size, {});
}

/// A multiple of the block's size away from it, behind all that was allocated so far: where a
/// block could lie.
int never_allocated(std::size_t size) {
  char* highest = nullptr;
  for (int i = 0; i < 4; ++i) {
    char* block = filled(size);
    if (block > highest) highest = block;
  }
  const auto step = malloc_usable_size(highest);
  return hand_in(highest + 20 * (step < 16 ? 16 : (step + 15) / 16 * 16), To::kFree, size, {});
}

int delete_of_too_small(std::size_t size) {
  void* block = hidden(::operator new(size));
  arm();
  ::operator delete(hidden(block), size / 2);
  return carry_on(size);
}

int delete_of_too_large(std::size_t size) {
  void* block = hidden(::operator new(size));
  arm();
  ::operator delete(hidden(block), size * 2);
  return carry_on(size);
}

int delete_aligned_wrongly(std::size_t size) {
  // One of these is at no multiple of the alignment that the delete claims.
  constexpr std::align_val_t kTold{64};
  constexpr std::align_val_t kClaimed{1 << 20};
  for (int i = 0; i < kNeighbours; ++i) {
    void* block = hidden(::operator new(size, kTold));
    if (reinterpret_cast<std::uintptr_t>(block) % static_cast<std::size_t>(kClaimed) == 0) continue;
    arm();
    ::operator delete(hidden(block), size, kClaimed);
    return carry_on(size);
  }
  return kNotReached;
}

int free_sized_wrongly(std::size_t size) {
  void* found = dlsym(RTLD_DEFAULT, "free_sized");
  if (found == nullptr) return kNotApplicable;
  char* block = filled(size);
  arm();
  reinterpret_cast<void (*)(void*, std::size_t)>(found)(hidden(block), size * 2);
  return carry_on(size);
}

}  // namespace

const Case kFreeCases[] = {
    {"double-free", twice},
    {"double-free-delayed", twice_delayed},
    {"double-free-interleaved", twice_interleaved},
    {"double-free-after-malloc", twice_after_malloc},
    {"double-free-other-thread", twice_other_thread},
    {"double-delete", twice_delete},
    {"realloc-freed", realloc_freed},
    {"usable-size-freed", usable_size_freed},
    {"free-interior", interior<To::kFree>},
    {"free-misaligned", misaligned},
    {"free-stack", on_stack<To::kFree>},
    {"free-static", in_static_data<To::kFree>},
    {"free-foreign-mapping", foreign_mapping},
    {"free-wild", wild},
    {"free-never-allocated", never_allocated},
    {"realloc-interior", interior<To::kRealloc>},
    {"realloc-stack", on_stack<To::kRealloc>},
    {"usable-size-interior", interior<To::kUsableSize>},
    {"usable-size-static", in_static_data<To::kUsableSize>},
    {"delete-size-too-small", delete_of_too_small},
    {"delete-size-too-large", delete_of_too_large},
    {"delete-alignment", delete_aligned_wrongly},
    {"free-sized-wrong", free_sized_wrongly},
    {nullptr, nullptr},
};
