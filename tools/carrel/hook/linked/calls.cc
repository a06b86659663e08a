// The reports of programs that name their allocations themselves: see calls.h. The same event path
// as malloc's and operator new's; only who calls it differs.
#include "hook/linked/calls.h"

#include <stdlib.h>
#include <string.h>

#include <atomic>

#include "hook/linked/note.h"
#include "hook/linked/own_file.h"
#include "hook/record.h"

using namespace carrel::tools;
using namespace carrel::tools::hook;

// Read by any thread, written by the first; what follows from it hangs on `recording` alone.
extern "C" {
uint8_t carrel_hook_state = 1;
}

namespace {

std::atomic<bool> begun{false};
char name_given[sizeof(channel::Process::allocator_name)];
bool on_malloc = false;

// Alignments that malloc gives anyway are no part of the event.
constexpr size_t kUsualAlignment = 2 * sizeof(void*);

}  // namespace

namespace carrel::tools::hook {

void name_allocator(channel::Process& process) {
  // What stands on malloc is called by what serves that.
  if (!on_malloc) memcpy(process.allocator_name, name_given, sizeof(name_given));
  name_file_of(process, on_malloc ? reinterpret_cast<void*>(&malloc) : nullptr);
}

}  // namespace carrel::tools::hook

void carrel_hook_start(const char* name, size_t length, int from_malloc) {
  if (begun.exchange(true, std::memory_order_relaxed)) return;
  memcpy(name_given, name, length < sizeof(name_given) ? length : sizeof(name_given) - 1);
  on_malloc = from_malloc != 0;
  attach();
  if (!is_recording()) {
    __atomic_store_n(&carrel_hook_state, 0, __ATOMIC_RELAXED);
    return;
  }
  follow_threads_and_forks();
}

void carrel_hook_allocated(const void* block, size_t size, size_t alignment, int zeroed) {
  if (alignment > kUsualAlignment) {
    begin_object(Op::kAligned, block, size, static_cast<unsigned>(__builtin_ctzll(alignment)));
  } else {
    begin_object(zeroed != 0 ? Op::kCalloc : Op::kMalloc, block, size);
  }
}

void carrel_hook_freeing(const void* block) { end_object(Op::kFree, block); }

void carrel_hook_resizing(const void* block, size_t size) {
  if (!is_recording()) return;
  put_sized(thread_state, Op::kReallocBegin, reinterpret_cast<uintptr_t>(block), size, 0);
}

void carrel_hook_resized(const void* block, size_t size) {
  if (take_stacks && is_recording()) take_stack(thread_state, size);
  note(Op::kReallocEnd, reinterpret_cast<uintptr_t>(block));
}
