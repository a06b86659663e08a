// The functions that the hook puts in front of the allocator's: malloc and its family,
// pthread_create and join, fork. Each calls the next definition of itself and writes down what
// happened. They keep the allocator's results and errno as they are. Compiled twice: under their
// own names for the library that is preloaded, as __wrap_NAME for the one that is linked.
// operator new and delete: entry_new.cc.
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "hook/early.h"
#include "hook/front.h"
#include "hook/next.h"
#include "hook/record.h"

namespace {

using namespace carrel::tools;
using namespace carrel::tools::hook;

inline bool ready() {
  if (next.malloc == nullptr) [[unlikely]] {
    resolve_next();
    return next.malloc != nullptr;
  }
  return true;
}

unsigned log_of(size_t alignment) {
  return alignment == 0 ? 0 : static_cast<unsigned>(__builtin_ctzll(alignment));
}

// The beginning of `block`, under the name of the function around this one if there is one.
inline void begin(Op op, const void* block, size_t size, unsigned alignment_log = 0) {
  ThreadState& thread = thread_state;
  if (thread.outer_op != 0) [[unlikely]] {
    if (thread.outer_size == size) op = static_cast<Op>(thread.outer_op);
    thread.outer_op = 0;
  }
  begin_object(op, block, size, alignment_log);
}

void* aligned(size_t alignment, size_t size, void* (*function)(size_t, size_t)) {
  if (function == nullptr) {
    void* block = nullptr;
    const int error =
        next.posix_memalign(&block, alignment < sizeof(void*) ? sizeof(void*) : alignment, size);
    if (error != 0) {
      errno = error;
      block = nullptr;
    }
    begin(Op::kAligned, block, size, log_of(alignment));
    return block;
  }
  void* const block = function(alignment, size);
  begin(Op::kAligned, block, size, log_of(alignment));
  return block;
}

}  // namespace

HOOK_API void* HOOK_FRONT(malloc)(size_t size) {
  if (!ready()) return early_allocate(size, 16);
  void* const block = next.malloc(size);
  begin(Op::kMalloc, block, size);
  return block;
}

HOOK_API void* HOOK_FRONT(calloc)(size_t count, size_t size) {
  if (!ready()) return early_allocate(count * size, 16);
  void* const block = next.calloc(count, size);
  size_t total = 0;
  if (__builtin_mul_overflow(count, size, &total)) total = SIZE_MAX;
  begin(Op::kCalloc, block, total);
  return block;
}

HOOK_API void HOOK_FRONT(free)(void* block) {
  if (block == nullptr || is_early(block)) return;
  if (!ready()) return;
  ThreadState& thread = thread_state;
  if (thread.outer_end == block) [[unlikely]] {
    thread.outer_end = nullptr;
  } else {
    end_object(Op::kFree, block);
  }
  next.free(block);
}

HOOK_API void* HOOK_FRONT(realloc)(void* block, size_t size) {
  if (!ready() || is_early(block)) {
    void* const moved = ready() ? HOOK_FRONT(malloc)(size) : early_allocate(size, 16);
    if (moved != nullptr && block != nullptr) {
      const size_t old = early_size(block);
      memcpy(moved, block, old < size ? old : size);
    }
    return moved;
  }
  if (is_recording()) {
    put_sized(thread_state, Op::kReallocBegin, reinterpret_cast<uintptr_t>(block), size, 0);
  }
  void* const moved = next.realloc(block, size);
  if (take_stacks && is_recording()) take_stack(thread_state, size);
  note(Op::kReallocEnd, reinterpret_cast<uintptr_t>(moved));
  return moved;
}

HOOK_API void* HOOK_FRONT(reallocarray)(void* block, size_t count, size_t size) {
  size_t total = 0;
  if (__builtin_mul_overflow(count, size, &total)) {
    errno = ENOMEM;
    return nullptr;
  }
  return HOOK_FRONT(realloc)(block, total);
}

HOOK_API int HOOK_FRONT(posix_memalign)(void** result, size_t alignment, size_t size) {
  if (!ready()) {
    *result = early_allocate(size, alignment);
    return *result != nullptr ? 0 : ENOMEM;
  }
  void* block = nullptr;
  const int error = next.posix_memalign(&block, alignment, size);
  begin(Op::kAligned, error == 0 ? block : nullptr, size, log_of(alignment));
  if (error == 0) *result = block;
  return error;
}

HOOK_API void* HOOK_FRONT(aligned_alloc)(size_t alignment, size_t size) {
  if (!ready()) return early_allocate(size, alignment);
  return aligned(alignment, size, next.aligned_alloc);
}

HOOK_API void* HOOK_FRONT(memalign)(size_t alignment, size_t size) {
  if (!ready()) return early_allocate(size, alignment);
  return aligned(alignment, size, next.memalign);
}

HOOK_API void* HOOK_FRONT(valloc)(size_t size) {
  return HOOK_FRONT(memalign)(static_cast<size_t>(sysconf(_SC_PAGESIZE)), size);
}

HOOK_API void* HOOK_FRONT(pvalloc)(size_t size) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return HOOK_FRONT(memalign)(page, (size + page - 1) / page * page);
}

HOOK_API void HOOK_FRONT(free_sized)(void* block, size_t size) {
  static_cast<void>(size);
  HOOK_FRONT(free)(block);
}

HOOK_API void HOOK_FRONT(free_aligned_sized)(void* block, size_t alignment, size_t size) {
  static_cast<void>(alignment);
  static_cast<void>(size);
  HOOK_FRONT(free)(block);
}

namespace {

// What a new thread needs before the program's function; the allocator's own memory, not recorded.
struct Start {
  void* (*function)(void*);
  void* argument;
  std::uint32_t number;
  std::uint32_t parent;
};

void* start_thread(void* data) {
  const Start start = *static_cast<Start*>(data);
  next.free(data);
  thread_started(start.number, start.parent);
  return start.function(start.argument);
}

// pthread_t to thread number, for pthread_join. Open addressing over a fixed table; a thread that
// finds no place is joined without a record.
constexpr size_t kPlaces = 16384;
constexpr size_t kReach = 64;
struct Place {
  std::atomic<std::uintptr_t> handle;
  std::atomic<std::uint32_t> number;
};
Place places[kPlaces];

size_t place_of(pthread_t handle, size_t step) {
  const std::uint64_t mixed = (static_cast<std::uint64_t>(handle) >> 6) * 0x9e3779b97f4a7c15;
  return ((mixed >> 40) + step) % kPlaces;
}

void remember(pthread_t handle, std::uint32_t number) {
  // A detached thread's handle comes back without a join: take its place first.
  for (size_t step = 0; step < kReach; ++step) {
    Place& place = places[place_of(handle, step)];
    if (place.handle.load(std::memory_order_relaxed) == handle) {
      place.number.store(number, std::memory_order_relaxed);
      return;
    }
  }
  for (size_t step = 0; step < kReach; ++step) {
    Place& place = places[place_of(handle, step)];
    std::uintptr_t empty = 0;
    if (place.handle.compare_exchange_strong(empty, handle, std::memory_order_relaxed)) {
      place.number.store(number, std::memory_order_relaxed);
      return;
    }
  }
}

std::uint32_t forget(pthread_t handle) {
  for (size_t step = 0; step < kReach; ++step) {
    Place& place = places[place_of(handle, step)];
    if (place.handle.load(std::memory_order_relaxed) == handle) {
      const std::uint32_t number = place.number.load(std::memory_order_relaxed);
      place.handle.store(0, std::memory_order_relaxed);
      return number;
    }
  }
  return kNoThread;
}

}  // namespace

HOOK_API int HOOK_FRONT(pthread_create)(pthread_t* handle, const pthread_attr_t* attributes,
                                        void* (*function)(void*), void* argument) noexcept {
  if (!ready() || !is_recording()) {
    return next.pthread_create(handle, attributes, function, argument);
  }
  Start* const start = static_cast<Start*>(next.malloc(sizeof(Start)));
  if (start == nullptr) return EAGAIN;
  // A creation of nobody introduces this thread first.
  if (!thread_state.known) note_exactly(Op::kThreadCreate, kNoThread);
  const std::uint32_t number = new_thread_number();
  *start = {function, argument, number, thread_state.number};
  note_exactly(Op::kThreadCreate, number);
  const int error = next.pthread_create(handle, attributes, start_thread, start);
  if (error == 0) {
    remember(*handle, number);
  } else {
    next.free(start);
  }
  return error;
}

HOOK_API int HOOK_FRONT(pthread_join)(pthread_t handle, void** result) {
  if (!ready() || !is_recording()) return next.pthread_join(handle, result);
  const std::uint32_t number = forget(handle);
  const int error = next.pthread_join(handle, result);
  if (error == 0 && number != kNoThread) note_exactly(Op::kThreadJoin, number);
  return error;
}

HOOK_API pid_t HOOK_FRONT(fork)() noexcept {
  if (!ready()) return -1;
  const pid_t child = next.fork();
  if (child > 0) note_exactly(Op::kFork, static_cast<std::uint64_t>(child));
  return child;
}
