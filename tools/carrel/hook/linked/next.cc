// The linked hook's beginning, for C and C++ programs: the functions behind it are those that the
// linker set aside for it (--wrap), so that there is nothing to look up.
#include "hook/next.h"

#include "hook/early.h"
#include "hook/linked/note.h"
#include "hook/linked/own_file.h"
#include "hook/record.h"

extern "C" {
void* __real_malloc(size_t size);
void* __real_calloc(size_t count, size_t size);
void* __real_realloc(void* block, size_t size);
void __real_free(void* block);
int __real_posix_memalign(void** result, size_t alignment, size_t size);
// Weak: an allocator that is linked in may lack these, and the C library's must not come instead.
__attribute__((weak)) void* __real_aligned_alloc(size_t alignment, size_t size);
__attribute__((weak)) void* __real_memalign(size_t alignment, size_t size);
int __real_pthread_create(pthread_t* handle, const pthread_attr_t* attributes,
                          void* (*function)(void*), void* argument);
int __real_pthread_join(pthread_t handle, void** result);
pid_t __real_fork();
}

namespace carrel::tools::hook {

Next next = {__real_malloc,         __real_calloc,        __real_realloc,  __real_free,
             __real_posix_memalign, __real_aligned_alloc, __real_memalign, __real_pthread_create,
             __real_pthread_join,   __real_fork};

// Nothing is looked up, so nothing is ever served early.
void* early_allocate(size_t size, size_t alignment) {
  static_cast<void>(size);
  static_cast<void>(alignment);
  return nullptr;
}
bool is_early(const void* block) {
  static_cast<void>(block);
  return false;
}
size_t early_size(const void* block) {
  static_cast<void>(block);
  return 0;
}

void resolve_next() {}

void name_allocator(channel::Process& process) {
  name_file_of(process, reinterpret_cast<void*>(next.malloc));
}

namespace {

__attribute__((constructor(101))) void prepare() {
  attach();
  follow_threads_and_forks();
}

}  // namespace

}  // namespace carrel::tools::hook
