// operator new and delete in front of the allocator's, preloaded or linked as in entry.cc.
// libstdc++'s are made of malloc and free, an allocator's own may be or not: each leaves its name
// for the inner call to take, and writes the event itself only when there was none. Exceptions of
// the next function pass through.
#include <new>

#include "hook/early.h"
#include "hook/front.h"
#include "hook/next.h"
#include "hook/record.h"

namespace {

using namespace carrel::tools;
using namespace carrel::tools::hook;

template <typename Call>
inline void* allocate(Op op, std::size_t size, unsigned alignment_log, Call call) {
  ThreadState& thread = thread_state;
  thread.outer_op = static_cast<std::uint8_t>(op);
  thread.outer_size = size;
  void* const block = call();
  if (thread.outer_op != 0) {
    thread.outer_op = 0;
    begin_object(op, block, size, alignment_log);
  }
  return block;
}

template <typename Call>
inline void release(Op op, void* block, Call call) {
  if (block == nullptr || is_early(block)) return;
  ThreadState& thread = thread_state;
  // libstdc++'s sized delete calls the plain one.
  if (thread.outer_end != block) end_object(op, block);
  thread.outer_end = block;
  call();
  thread.outer_end = nullptr;
}

unsigned log_of(std::align_val_t alignment) {
  return static_cast<unsigned>(__builtin_ctzll(static_cast<std::size_t>(alignment)));
}

}  // namespace

// The mangled names are those of the Itanium ABI on 64-bit systems, where size_t is unsigned long.
#define HOOK_NEW(mangled, kind, parameters, quality, arguments, types, op, log) \
  HOOK_OPERATOR(void*, mangled, kind, parameters, quality, types) {             \
    const auto call = HOOK_NEXT_OPERATOR(void*, mangled, types);                \
    return allocate(op, size, log, [&] { return call arguments; });             \
  }

#define HOOK_DELETE(mangled, kind, parameters, arguments, types, op) \
  HOOK_OPERATOR(void, mangled, kind, parameters, noexcept, types) {  \
    const auto call = HOOK_NEXT_OPERATOR(void, mangled, types);      \
    release(op, block, [&] { call arguments; });                     \
  }

using Size = std::size_t;
using Align = std::align_val_t;
using NoThrow = const std::nothrow_t&;

HOOK_NEW(_Znwm, new, (Size size), , (size), (Size), Op::kNew, 0)
HOOK_NEW(_Znam, new[], (Size size), , (size), (Size), Op::kNew, 0)
HOOK_NEW(_ZnwmRKSt9nothrow_t, new, (Size size, NoThrow tag), noexcept, (size, tag), (Size, NoThrow),
         Op::kNew, 0)
HOOK_NEW(_ZnamRKSt9nothrow_t, new[], (Size size, NoThrow tag), noexcept, (size, tag),
         (Size, NoThrow), Op::kNew, 0)
HOOK_NEW(_ZnwmSt11align_val_t, new, (Size size, Align align), , (size, align), (Size, Align),
         Op::kNewAligned, log_of(align))
HOOK_NEW(_ZnamSt11align_val_t, new[], (Size size, Align align), , (size, align), (Size, Align),
         Op::kNewAligned, log_of(align))
HOOK_NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, new, (Size size, Align align, NoThrow tag), noexcept,
         (size, align, tag), (Size, Align, NoThrow), Op::kNewAligned, log_of(align))
HOOK_NEW(_ZnamSt11align_val_tRKSt9nothrow_t, new[], (Size size, Align align, NoThrow tag), noexcept,
         (size, align, tag), (Size, Align, NoThrow), Op::kNewAligned, log_of(align))

HOOK_DELETE(_ZdlPv, delete, (void* block), (block), (void*), Op::kDelete)
HOOK_DELETE(_ZdaPv, delete[], (void* block), (block), (void*), Op::kDelete)
HOOK_DELETE(_ZdlPvRKSt9nothrow_t, delete, (void* block, NoThrow tag), (block, tag),
            (void*, NoThrow), Op::kDelete)
HOOK_DELETE(_ZdaPvRKSt9nothrow_t, delete[], (void* block, NoThrow tag), (block, tag),
            (void*, NoThrow), Op::kDelete)
HOOK_DELETE(_ZdlPvm, delete, (void* block, Size size), (block, size), (void*, Size),
            Op::kDeleteSized)
HOOK_DELETE(_ZdaPvm, delete[], (void* block, Size size), (block, size), (void*, Size),
            Op::kDeleteSized)
HOOK_DELETE(_ZdlPvSt11align_val_t, delete, (void* block, Align align), (block, align),
            (void*, Align), Op::kDeleteAligned)
HOOK_DELETE(_ZdaPvSt11align_val_t, delete[], (void* block, Align align), (block, align),
            (void*, Align), Op::kDeleteAligned)
HOOK_DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, delete, (void* block, Align align, NoThrow tag),
            (block, align, tag), (void*, Align, NoThrow), Op::kDeleteAligned)
HOOK_DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, delete[], (void* block, Align align, NoThrow tag),
            (block, align, tag), (void*, Align, NoThrow), Op::kDeleteAligned)
HOOK_DELETE(_ZdlPvmSt11align_val_t, delete, (void* block, Size size, Align align),
            (block, size, align), (void*, Size, Align), Op::kDeleteAligned)
HOOK_DELETE(_ZdaPvmSt11align_val_t, delete[], (void* block, Size size, Align align),
            (block, size, align), (void*, Size, Align), Op::kDeleteAligned)
