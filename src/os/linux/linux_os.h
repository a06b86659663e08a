// Linux as carrel's operating system; the contract is in os/os.h.
//
// Needs Linux 5.4 or later; what is newer (MREMAP_DONTUNMAP, guard pages without mappings of
// their own) is tried, and where the kernel refuses it, done otherwise or reported as not possible.
#pragma once

#include "os/os.h"

namespace carrel::core {

/// A mapped file with code; `path` is not terminated.
struct LinuxCodeMapping {
  std::uintptr_t start;
  std::uintptr_t end;
  std::uint64_t offset;
  std::uintptr_t bias;  // what to take from an address to find it in the file's symbols
  const char* path;
  std::size_t path_size;
  const unsigned char* build_id;
  std::size_t build_id_size;  // 0 if it has none
};

struct LinuxOs {
  static std::size_t page_bytes();
  static std::uint32_t cpu_count();
  static std::size_t address_space_limit();
  static std::uint64_t now_ms();

  static void* reserve(std::size_t bytes, std::size_t align);
  static bool commit(void* p, std::size_t bytes);
  static void* map(void* hint, std::size_t bytes);
  static void unmap(void* p, std::size_t bytes);
  static bool purge(void* p, std::size_t bytes);
  static void populate(void* p, std::size_t bytes);
  static bool move_pages(void* from, void* to, std::size_t bytes);
  static bool fresh_pages(void* p, std::size_t bytes);
  static void advise_huge(void* p, std::size_t bytes, bool wanted);
  static bool collapse_dense(void* p, std::size_t bytes);
  static bool fence(void* p, std::size_t bytes);
  static bool unfence(void* p, std::size_t bytes);
  /// Leaves a program alone that has a handler for SIGSEGV.
  static bool watch_faults(void (*explain)(const MemoryFault& fault));
  static bool memory_is_short();
  static const char* alone_flag();
  static std::uint64_t random_word();
  static std::size_t resident_bytes(const void* p, std::size_t bytes);

  // For heap profiles: the second part of the contract.
  using CodeMapping = LinuxCodeMapping;

  /// May allocate. False where there is no unwinder.
  static bool load_unwinder();
  /// Return addresses of the calling thread's stack, innermost first; returns how many. None until
  /// load_unwinder() has succeeded.
  static std::size_t stack_trace(const void** frames, std::size_t capacity);
  /// In rising order of addresses.
  static void for_each_code_mapping(void (*visit)(void* context, const LinuxCodeMapping& mapping),
                                    void* context);
  /// These return a file's number or 0, or an error number as a negative value.
  static long create_file(const char* path, bool must_be_new);
  static long write_file(long file, const void* data, std::size_t size);
  static long close_file(long file);
  static std::uint64_t process_id();
  static std::uint64_t wall_clock_ns();
  static std::uint64_t steady_clock_ns();

  // For arenas with pages of their own: the third part of the contract.
  static long map_file(void* p, std::size_t bytes, int file, std::uint64_t offset);
  static long map_huge(void* p, std::size_t bytes);
  static long bind_to_nodes(void* p, std::size_t bytes, std::uint64_t nodes);
  static bool purge_file(void* p, std::size_t bytes);
  static bool look_at_file(int file, std::uint64_t& bytes, std::uint64_t& page_bytes);
  static std::size_t huge_page_bytes(bool (*ours)(std::uintptr_t address));

  // For being asked from outside: the fourth part of the contract.
  static constexpr std::uint32_t kNoTimeout = ~std::uint32_t{0};
  static constexpr std::size_t kMostWaitedFor = 16;
  static bool start_full_thread(void (*entry)());
  static long listen_at(const char* name);
  static long accept_peer(long listener, std::uint32_t send_timeout_ms);
  static bool is_own_user_or_root(long peer);
  static void wait_for_input(const long* files, bool* ready, std::size_t count,
                             std::uint32_t timeout_ms);
  static long receive(long peer, char* buffer, std::size_t capacity);
  static bool send(long peer, const char* text, std::size_t size);
  static void hang_up(long peer);
  static std::uint64_t socket_identity(long file);

  static void wait(std::atomic<std::uint32_t>& word, std::uint32_t expected,
                   std::uint32_t timeout_ms);
  static void wake(std::atomic<std::uint32_t>& word, std::uint32_t count);
  static void yield();
  static bool start_thread(void (*entry)());
  static void forget_thread();

  /// Whether Valgrind's memcheck runs the program.
  static bool under_memcheck();
  /// Whether any of its tools does.
  static bool under_valgrind();

  static std::size_t environment(const char* name, char* buffer, std::size_t capacity);
  static void write_stderr(const char* text, std::size_t size);
  [[noreturn]] static void abort();
};
static_assert(OsLayer<LinuxOs> && ProfilingOs<LinuxOs> && BackingOs<LinuxOs> &&
              ListeningOs<LinuxOs>);

}  // namespace carrel::core
