// The hook's event path: how a call becomes a word in this thread's block. Everything here runs in
// the recorded program, on the program's threads, at any time; nothing here allocates, locks or
// throws. An event costs a few loads and one store; every 16 words a look at the clock.
//
// A beginning is written after the allocator returned, an end before it is called: so the order of
// the clock is the order in which an address changes hands.
#pragma once

#include <atomic>

#include "hook/channel.h"
#include "trace/event.h"

namespace carrel::tools::hook {

struct ThreadState {
  std::uint64_t* cursor;  // next word; equal to `soft` when there is no block
  std::uint64_t* soft;    // where the next stamp is due
  std::uint32_t tick;     // the recorder's tick at the last stamp
  std::uint32_t number;   // of the thread, once `known`
  std::uint32_t block;
  std::uint32_t sequence;    // of the thread's blocks
  std::int64_t until_stack;  // bytes until the next stack is taken
  std::uint64_t random;      // for distances between stacks
  std::uint64_t* end;        // of the block
  std::uint32_t parent;      // creating thread, kNoThread if unknown
  std::uint8_t known;        // has a number
  std::uint8_t ended;        // its exit has been written
  std::uint8_t exit_rounds;  // how often the exit destructor has run
  std::uint8_t in_stack;     // a stack is being taken
  // A function of the family may be made of another one: operator new of libstdc++ calls malloc.
  // The outer one leaves its name here for the inner one to take.
  std::uint8_t outer_op;  // 0 or an Op
  std::uint64_t outer_size;
  const void* outer_end;  // a block whose end has been written
};

extern constinit thread_local ThreadState thread_state;
// The mapping is there for the process's life once it is made; whether anything is recorded into it
// ends on any thread at any time, and no order hangs on when the others see that.
extern channel::Control* mapped;
extern constinit std::atomic<bool> recording;
extern bool take_stacks;

inline bool is_recording() { return recording.load(std::memory_order_relaxed); }
inline void end_recording() { recording.store(false, std::memory_order_relaxed); }

// The slow exits. make_room returns false when nothing is to be recorded.
bool make_room(ThreadState& thread, std::size_t words);
void take_stack(ThreadState& thread, std::uint64_t size);

// Attaches to the recorder if there is one; called once, before the first event.
void attach();

// From then on the ends of threads are written and a forked child is told from its parent; called
// once, by the first thread.
void follow_threads_and_forks();

// Which allocator is behind the hook: its file, and its name where the file doesn't tell. Each kind
// of hook has its own.
void name_allocator(channel::Process& process);

void thread_started(std::uint32_t number, std::uint32_t parent);
std::uint32_t new_thread_number();

inline bool room(ThreadState& thread, std::size_t words) {
  if (thread.cursor + words > thread.soft ||
      thread.tick != mapped->tick.load(std::memory_order_relaxed)) [[unlikely]] {
    return make_room(thread, words);
  }
  return true;
}

// One word. The release pairs with the recorder's acquire: it must not see the word before what was
// written ahead of it (the second word of a pair).
inline void put(ThreadState& thread, std::uint64_t word) {
  __atomic_store_n(thread.cursor, word, __ATOMIC_RELEASE);
  ++thread.cursor;
}

inline void put_sized(ThreadState& thread, Op op, std::uint64_t address, std::uint64_t size,
                      unsigned alignment_log) {
  const std::uint64_t head = (address << 16) | static_cast<unsigned>(op);
  if (size < channel::kSizeFollows && alignment_log == 0) [[likely]] {
    if (!room(thread, 1)) return;
    put(thread, head | (size << 5));
    return;
  }
  if (!room(thread, 2)) return;
  thread.cursor[1] =
      (size & ((std::uint64_t{1} << 56) - 1)) | (static_cast<std::uint64_t>(alignment_log) << 56);
  __atomic_store_n(thread.cursor, head | (std::uint64_t{channel::kSizeFollows} << 5),
                   __ATOMIC_RELEASE);
  thread.cursor += 2;
}

inline void begin_object(Op op, const void* block, std::uint64_t size, unsigned alignment_log = 0) {
  if (!is_recording()) return;
  ThreadState& thread = thread_state;
  if (take_stacks) [[unlikely]] {
    take_stack(thread, size);
  }
  put_sized(thread, op, reinterpret_cast<std::uintptr_t>(block), size, alignment_log);
}

// Words that carry an address or a number and no size.
inline void note(Op op, std::uint64_t value) {
  if (!is_recording()) return;
  ThreadState& thread = thread_state;
  if (!room(thread, 1)) return;
  put(thread, (value << 16) | static_cast<unsigned>(op));
}

// What other threads act upon gets a stamp of its own, before and after it.
inline void note_exactly(Op op, std::uint64_t value) {
  if (!is_recording()) return;
  ThreadState& thread = thread_state;
  thread.soft = thread.cursor;
  note(op, value);
  thread.soft = thread.cursor;
}

inline void end_object(Op op, const void* block) {
  note(op, reinterpret_cast<std::uintptr_t>(block));
}

}  // namespace carrel::tools::hook
