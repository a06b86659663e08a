// The preloaded hook's beginning: looks up the functions behind it, with an arena that serves while
// that is under way, and attaches, unless the program has the hook linked in.
#include "hook/next.h"

#include <dlfcn.h>
#include <elf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <atomic>

#include "hook/early.h"
#include "hook/record.h"

namespace carrel::tools::hook {

Next next;

namespace {

alignas(64) char arena[64 << 10];
std::atomic<size_t> arena_used{0};
std::atomic<bool> resolving{false};

template <typename Function>
void find(Function& function, const char* name) {
  function = reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

bool has_note(const char* at, const char* end) {
  while (at + sizeof(Elf64_Nhdr) <= end) {
    Elf64_Nhdr note;
    memcpy(&note, at, sizeof(note));
    const char* const owner = at + sizeof(note);
    if (note.n_type == channel::kNoteType && note.n_namesz == sizeof(channel::kNoteOwner) &&
        memcmp(owner, channel::kNoteOwner, sizeof(channel::kNoteOwner)) == 0) {
      // One of another version keeps still; then this library records.
      std::uint32_t version = 0;
      if (note.n_descsz != sizeof(version)) return false;
      memcpy(&version, owner + (note.n_namesz + 3) / 4 * 4, sizeof(version));
      return version == channel::kVersion;
    }
    at = owner + (note.n_namesz + 3) / 4 * 4 + (note.n_descsz + 3) / 4 * 4;
  }
  return false;
}

// Whether the executable records by itself: see kNoteOwner. Read where it lies in memory.
bool program_carries_hook() {
  const auto* const headers = reinterpret_cast<const Elf64_Phdr*>(getauxval(AT_PHDR));
  const size_t count = getauxval(AT_PHNUM);
  if (headers == nullptr) return false;
  uintptr_t bias = 0;
  for (size_t i = 0; i < count; ++i) {
    if (headers[i].p_type == PT_PHDR) {
      bias = reinterpret_cast<uintptr_t>(headers) - headers[i].p_vaddr;
    }
  }
  for (size_t i = 0; i < count; ++i) {
    if (headers[i].p_type != PT_NOTE || headers[i].p_align > 4) continue;
    const char* const start = reinterpret_cast<const char*>(bias + headers[i].p_vaddr);
    if (has_note(start, start + headers[i].p_memsz)) return true;
  }
  return false;
}

}  // namespace

void* early_allocate(size_t size, size_t alignment) {
  if (alignment < 16) alignment = 16;
  // The size stands before the block, for realloc.
  size_t used = arena_used.load(std::memory_order_relaxed);
  for (;;) {
    const size_t start = (used + 16 + alignment - 1) / alignment * alignment;
    if (size > sizeof(arena) || start + size > sizeof(arena)) return nullptr;
    if (arena_used.compare_exchange_weak(used, start + size, std::memory_order_relaxed)) {
      *reinterpret_cast<size_t*>(arena + start - 16) = size;
      return arena + start;
    }
  }
}

bool is_early(const void* block) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(block);
  const uintptr_t start = reinterpret_cast<uintptr_t>(arena);
  return address - start < sizeof(arena);
}

size_t early_size(const void* block) {
  return *reinterpret_cast<const size_t*>(static_cast<const char*>(block) - 16);
}

void resolve_next() {
  // A second thread cannot be here before the first has allocated; what comes back while this runs
  // is dlsym's own need, and finds next.malloc still null.
  if (resolving.exchange(true, std::memory_order_acquire)) return;
  Next found;
  find(found.malloc, "malloc");
  find(found.calloc, "calloc");
  find(found.realloc, "realloc");
  find(found.free, "free");
  find(found.posix_memalign, "posix_memalign");
  find(found.aligned_alloc, "aligned_alloc");
  find(found.memalign, "memalign");
  find(found.pthread_create, "pthread_create");
  find(found.pthread_join, "pthread_join");
  find(found.fork, "fork");
  if (found.malloc == nullptr || found.calloc == nullptr || found.realloc == nullptr ||
      found.free == nullptr || found.posix_memalign == nullptr) {
    static constexpr char kMessage[] =
        "carrel: the recording library finds no malloc behind it; preload an allocator that has "
        "malloc, calloc, realloc, free and posix_memalign\n";
    const ssize_t ignored = write(2, kMessage, sizeof(kMessage) - 1);
    static_cast<void>(ignored);
    _exit(126);
  }
  next = found;
  if (!program_carries_hook()) attach();
}

// For a hook that is linked into the program, which finds this library's malloc where it asks for
// the program's.
extern "C" __attribute__((visibility("default"))) void* carrel_hook_next_malloc() {
  return reinterpret_cast<void*>(next.malloc);
}

void name_allocator(channel::Process& process) {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(next.malloc), &info) != 0 && info.dli_fname != nullptr) {
    strncpy(process.allocator, info.dli_fname, sizeof(process.allocator) - 1);
  }
}

namespace {

__attribute__((constructor(101))) void prepare() {
  resolve_next();
  follow_threads_and_forks();
}

}  // namespace

void* find_operator(const char* name) {
  if (next.malloc == nullptr) resolve_next();
  void* found = dlsym(RTLD_NEXT, name);
  void* const runtime =
      found == nullptr ? dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD) : nullptr;
  if (runtime != nullptr) {
    found = dlsym(runtime, name);
    dlclose(runtime);
  }
  if (found == nullptr) {
    static constexpr char kMessage[] =
        "carrel: the recording library finds no operator new behind it; is the C++ runtime "
        "linked statically? Record with another allocator preloaded\n";
    const ssize_t ignored = write(2, kMessage, sizeof(kMessage) - 1);
    static_cast<void>(ignored);
    _exit(126);
  }
  return found;
}

}  // namespace carrel::tools::hook
