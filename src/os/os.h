// The contract between carrel and an operating system, as a concept: a port is one class
// that satisfies it, in one folder beside linux/ and fake/.
//
// Every function may be called from any thread. None allocates through malloc, throws,
// changes errno or takes a lock of carrel's. Addresses and sizes handed in are multiples
// of page_bytes() unless said otherwise.
//
//   page_bytes()            The size of a page; a power of two; constant.
//   cpu_count()             CPUs this process may run on, at least 1.
//   address_space_limit()   Bytes of address space the process may have; SIZE_MAX if unlimited.
//   now_ms()                A clock that never goes back, in milliseconds; it may be coarse.
//   reserve(bytes, align)   Address space that cannot be touched yet, or null. It costs no
//                           memory and no commit charge. `align` is a power of two.
//   commit(p, bytes)        Makes part of a reservation readable, writable and zero. False:
//                           refused, nothing changed.
//   map(hint, bytes)        Fresh memory, readable, writable and zero, at `hint` if that is
//                           free, or elsewhere; null when refused.
//   unmap(p, bytes)         Gives back part or all of what reserve or map returned.
//   purge(p, bytes)         Gives the pages back and keeps the range usable: it reads as zero
//                           afterwards. False: refused, contents unchanged (locked memory).
//   populate(p, bytes)      Hint: all of this usable range, which reads as zero, is about to be
//                           written; make it resident now if that is cheaper than by faults.
//   move_pages(from, to, bytes)
//                           Moves contents by page tables: `to` (committed, contents lost)
//                           gets them, `from` stays usable and reads as zero. False: not
//                           possible here, nothing changed. No other thread uses either.
//   fresh_pages(p, bytes)   Replaces the range by untouched zero pages, undoing what
//                           move_pages did to the kernel's book-keeping. False: refused.
//   advise_huge(p, bytes, wanted)
//                           Hint: back this range by huge pages when it is touched, or do
//                           not, even where the system would do so by itself. Parts of it may
//                           be fenced.
//   collapse_dense(p, bytes)
//                           Backs the range, aligned as huge pages are, by huge pages now
//                           if nearly all of it is resident. False: it is not, or some of it
//                           is fenced, or the system cannot.
//   fence(p, bytes)         Makes memory inaccessible, of which a part may be so already: the
//                           pages are gone, any access ends the process. False: refused, contents
//                           unchanged.
//   unfence(p, bytes)       Undoes fence for every part of the range that was fenced, which
//                           then reads as zero; the rest of the range keeps its contents.
//                           False: refused, nothing that was fenced may be used.
//   watch_faults(explain)   From now on calls explain(fault) when the program touches memory that
//                           it cannot touch, on the thread that did, before the process ends by
//                           that. False: not to be had, or the program sees to its faults itself.
//   resident_bytes(p, bytes)
//                           Bytes of a mapped range that are in memory now; 0 where the system
//                           does not say. For statistics only: it may be slow.
//   memory_is_short()       Whether the system, or a limit that this process shares with others,
//                           will soon run out of memory. Asked about once a second.
//   alone_flag()            A byte that is not zero only while the calling thread, alone in the
//                           process, has started no other that could call carrel. Never null.
//   random_word()           64 bits that nobody can guess, as far as the system has them.
//   wait(word, expected, timeout_ms)
//                           Sleeps while *word == expected, until woken or timed out
//                           (0: no limit). May wake for no reason.
//   wake(word, count)       Wakes up to `count` sleepers of this word.
//   yield()                 Lets another thread run.
//   start_thread(entry)     Runs entry() on a helper thread with every signal blocked; at
//                           most one at a time. False: refused.
//   forget_thread()         In a child after fork: the helper thread is gone.
//   environment(name, buffer, capacity)
//                           Length of the variable's value copied into `buffer`, 0 if unset,
//                           too long or not to be trusted (a set-user-id program).
//   write_stderr(text, n)   Writes a message; best effort.
//   abort()                 Ends the process by SIGABRT.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>

namespace carrel::core {

/// An access to memory that cannot be touched.
struct MemoryFault {
  enum class Access : std::uint8_t { kUnknown, kRead, kWrite };
  const void* address = nullptr;  // that was touched
  const void* code = nullptr;     // of the instruction
  Access access = Access::kUnknown;
};

template <class Os>
concept OsLayer = requires(void* p, std::size_t n, std::atomic<std::uint32_t>& word,
                           std::uint32_t u, const char* text, char* buffer, void (*entry)(),
                           void (*explain)(const MemoryFault&)) {
  { Os::page_bytes() } -> std::same_as<std::size_t>;
  { Os::cpu_count() } -> std::same_as<std::uint32_t>;
  { Os::address_space_limit() } -> std::same_as<std::size_t>;
  { Os::now_ms() } -> std::same_as<std::uint64_t>;
  { Os::reserve(n, n) } -> std::same_as<void*>;
  { Os::commit(p, n) } -> std::same_as<bool>;
  { Os::map(p, n) } -> std::same_as<void*>;
  { Os::unmap(p, n) } -> std::same_as<void>;
  { Os::purge(p, n) } -> std::same_as<bool>;
  { Os::populate(p, n) } -> std::same_as<void>;
  { Os::move_pages(p, p, n) } -> std::same_as<bool>;
  { Os::fresh_pages(p, n) } -> std::same_as<bool>;
  { Os::advise_huge(p, n, true) } -> std::same_as<void>;
  { Os::collapse_dense(p, n) } -> std::same_as<bool>;
  { Os::fence(p, n) } -> std::same_as<bool>;
  { Os::unfence(p, n) } -> std::same_as<bool>;
  { Os::watch_faults(explain) } -> std::same_as<bool>;
  { Os::resident_bytes(p, n) } -> std::same_as<std::size_t>;
  { Os::memory_is_short() } -> std::same_as<bool>;
  { Os::alone_flag() } -> std::same_as<const char*>;
  { Os::random_word() } -> std::same_as<std::uint64_t>;
  { Os::wait(word, u, u) } -> std::same_as<void>;
  { Os::wake(word, u) } -> std::same_as<void>;
  { Os::yield() } -> std::same_as<void>;
  { Os::start_thread(entry) } -> std::same_as<bool>;
  { Os::forget_thread() } -> std::same_as<void>;
  { Os::environment(text, buffer, n) } -> std::same_as<std::size_t>;
  { Os::write_stderr(text, n) } -> std::same_as<void>;
  { Os::abort() } -> std::same_as<void>;
};

// What heap profiles and reports' stacks need beside that, of the system that a process runs on;
// the simulated one has none of it. Nothing of this is called before a profile is started or stacks
// are asked for.
//
//   load_unwinder()         Makes stack_trace work; may allocate. False where there is no unwinder.
//   stack_trace(frames, n)  Return addresses of the calling thread, innermost first: how many.
//   for_each_code_mapping(visit, context)
//                           Calls visit for every mapped file with code, in rising order.
//   create_file(path, must_be_new), write_file(file, data, size), close_file(file)
//                           A file's number or 0; negative: an error number.
//   process_id(), wall_clock_ns()
//                           The latter since 1970.
//   steady_clock_ns()       A clock that never goes back.
template <class Os>
concept ProfilingOs = requires(const void** frames, std::size_t n, long file, const char* path,
                               void* context,
                               void (*visit)(void*, const typename Os::CodeMapping&)) {
  { Os::load_unwinder() } -> std::same_as<bool>;
  { Os::stack_trace(frames, n) } -> std::same_as<std::size_t>;
  { Os::for_each_code_mapping(visit, context) } -> std::same_as<void>;
  { Os::create_file(path, true) } -> std::same_as<long>;
  { Os::write_file(file, path, n) } -> std::same_as<long>;
  { Os::close_file(file) } -> std::same_as<long>;
  { Os::process_id() } -> std::same_as<std::uint64_t>;
  { Os::wall_clock_ns() } -> std::same_as<std::uint64_t>;
  { Os::steady_clock_ns() } -> std::same_as<std::uint64_t>;
};

// What arenas with pages of their own and the statistics of huge pages need beside that. The first
// three return 0 or an error number as a negative value; src/api alone calls any of this.
//
//   map_file(p, bytes, file, offset)
//                           Replaces usable memory by a shared mapping of a file.
//   map_huge(p, bytes)      Replaces it by huge pages that are surely there; zero.
//   bind_to_nodes(p, bytes, nodes)
//                           Its pages, none touched yet, come from these nodes (bits) only.
//   purge_file(p, bytes)    Makes a hole in the mapped file, which reads as zero; false: refused.
//   look_at_file(file, bytes, unit)
//                           A file's length, and the size of its pages. False: cannot be told.
//   huge_page_bytes(ours)   Bytes of mappings for whose first address ours() is true that huge
//                           pages back now; 0 where the system does not say.
template <class Os>
concept BackingOs = requires(void* p, std::size_t n, int file, std::uint64_t u, std::uint64_t& out,
                             bool (*ours)(std::uintptr_t)) {
  { Os::map_file(p, n, file, u) } -> std::same_as<long>;
  { Os::map_huge(p, n) } -> std::same_as<long>;
  { Os::bind_to_nodes(p, n, u) } -> std::same_as<long>;
  { Os::purge_file(p, n) } -> std::same_as<bool>;
  { Os::look_at_file(file, out, out) } -> std::same_as<bool>;
  { Os::huge_page_bytes(ours) } -> std::same_as<std::size_t>;
};

// What being asked from outside needs beside that (the option control). Files are numbers; negative
// results are error numbers. src/api alone calls any of this.
//
//   start_full_thread(entry)
//                           A thread like the program's own, every signal blocked, nobody's to
//                           join. May allocate, takes locks of the C library: not from malloc or
//                           free.
//   listen_at(name)         Begins to listen there, for peers of this machine.
//   accept_peer(listener, send_timeout_ms)
//                           The next peer; never waits. send() to it waits so long at most.
//   is_own_user_or_root(peer)
//                           Whether who connected is root, or this process's user.
//   wait_for_input(files, ready, count, timeout_ms)
//                           Returns when one of up to kMostWaitedFor files has something to read,
//                           or has ended. Negative numbers never do. kNoTimeout: however long it
//                           takes.
//   receive(peer, buffer, capacity)
//                           One message's size, even if no more than capacity bytes of it fit; 0:
//                           the peer is gone. Never waits.
//   send(peer, text, size)  One message. False: the peer is gone or does not read. No signal.
//   hang_up(peer)           Closes it, for the peer too.
//   socket_identity(file)   What no other socket has while this one is open; 0: none.
template <class Os>
concept ListeningOs = requires(long file, char* buffer, const char* text, std::size_t n,
                               std::uint32_t u, const long* files, bool* ready, void (*entry)()) {
  { Os::start_full_thread(entry) } -> std::same_as<bool>;
  { Os::listen_at(text) } -> std::same_as<long>;
  { Os::accept_peer(file, u) } -> std::same_as<long>;
  { Os::is_own_user_or_root(file) } -> std::same_as<bool>;
  { Os::wait_for_input(files, ready, n, u) } -> std::same_as<void>;
  { Os::receive(file, buffer, n) } -> std::same_as<long>;
  { Os::send(file, text, n) } -> std::same_as<bool>;
  { Os::hang_up(file) } -> std::same_as<void>;
  { Os::socket_identity(file) } -> std::same_as<std::uint64_t>;
};

}  // namespace carrel::core
