// A socket of this machine alone, by a name without a file, and a thread of the C library's that
// may sit at it: what a process needs to be asked something from outside. Messages keep their
// boundaries. Results are the kernel's: a negative value is an error number.
//
// Other than the helper thread's (helper_thread.cc), which knows no C library, this thread may call
// anything; so it is started from outside of malloc and free.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/bits.h"
#include "os/linux/linux_os.h"
#include "os/linux/syscall.h"

namespace carrel::core {
namespace {

constexpr std::size_t kFullStackBytes = 256 * kKiB;
constexpr const char* kFullThreadName = "carrel-control";

void* full_thread_main(void* entry) {
  raw_syscall(SYS_prctl, PR_SET_NAME, reinterpret_cast<long>(kFullThreadName));
  reinterpret_cast<void (*)()>(entry)();
  return nullptr;
}

/// True where every user has a number of its own, as in the first user namespace; elsewhere those
/// without one all appear as "nobody".
bool users_are_all_mapped() {
  const long file = raw_syscall(SYS_openat, AT_FDCWD, reinterpret_cast<long>("/proc/self/uid_map"),
                                O_RDONLY | O_CLOEXEC);
  if (is_error(file)) return false;
  char text[128] = {};
  raw_syscall(SYS_read, file, reinterpret_cast<long>(text), sizeof text - 1);
  raw_syscall(SYS_close, file);
  return strstr(text, "4294967295") != nullptr;
}

}  // namespace

bool LinuxOs::start_full_thread(void (*entry)()) {
  // Not by a system call: the C library's own signals, by which setuid reaches all threads, stay.
  sigset_t all;
  sigset_t previous;
  sigfillset(&all);
  if (pthread_sigmask(SIG_SETMASK, &all, &previous) != 0) return false;
  int error = EINVAL;
  // A program with much thread-local storage leaves no room on a small stack.
  for (const bool small : {true, false}) {
    if (error == 0) break;
    pthread_attr_t how;
    if (pthread_attr_init(&how) != 0) break;
    pthread_attr_setdetachstate(&how, PTHREAD_CREATE_DETACHED);
    if (small) pthread_attr_setstacksize(&how, kFullStackBytes);
    pthread_t thread;
    error = pthread_create(&thread, &how, full_thread_main, reinterpret_cast<void*>(entry));
    pthread_attr_destroy(&how);
  }
  pthread_sigmask(SIG_SETMASK, &previous, nullptr);
  return error == 0;
}

long LinuxOs::listen_at(const char* name) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::size_t size = strlen(name);
  if (size + 1 > sizeof address.sun_path) return -ENAMETOOLONG;
  memcpy(address.sun_path + 1, name, size);  // a zero first: no file
  const long file = raw_syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (is_error(file)) return file;
  long result = raw_syscall(SYS_bind, file, reinterpret_cast<long>(&address),
                            static_cast<long>(offsetof(sockaddr_un, sun_path) + 1 + size));
  if (!is_error(result)) result = raw_syscall(SYS_listen, file, 16);
  if (!is_error(result)) return file;
  close_file(file);
  return result;
}

long LinuxOs::accept_peer(long listener, std::uint32_t send_timeout_ms) {
  const long file = raw_syscall(SYS_accept4, listener, 0, 0, SOCK_CLOEXEC);
  if (is_error(file)) return file;
  const timeval limit = {.tv_sec = send_timeout_ms / 1000,
                         .tv_usec = static_cast<long>(send_timeout_ms % 1000) * 1000};
  raw_syscall(SYS_setsockopt, file, SOL_SOCKET, SO_SNDTIMEO, reinterpret_cast<long>(&limit),
              sizeof limit);
  return file;
}

bool LinuxOs::is_own_user_or_root(long peer) {
  ucred who = {};
  socklen_t size = sizeof who;
  if (is_error(raw_syscall(SYS_getsockopt, peer, SOL_SOCKET, SO_PEERCRED,
                           reinterpret_cast<long>(&who), reinterpret_cast<long>(&size)))) {
    return false;
  }
  if (who.uid == 0) return true;
  // All three, as for a debugger: a server that acts as a user for a while is not that user's.
  uid_t real = 0;
  uid_t effective = 0;
  uid_t saved = 0;
  raw_syscall(SYS_getresuid, reinterpret_cast<long>(&real), reinterpret_cast<long>(&effective),
              reinterpret_cast<long>(&saved));
  constexpr uid_t kNobody = 65534;
  return who.uid == real && who.uid == effective && who.uid == saved &&
         (who.uid != kNobody || users_are_all_mapped());
}

void LinuxOs::wait_for_input(const long* files, bool* ready, std::size_t count,
                             std::uint32_t timeout_ms) {
  pollfd all[kMostWaitedFor] = {};
  for (std::size_t i = 0; i < count; ++i) {
    all[i].fd = static_cast<int>(files[i]);  // negative ones are left out
    all[i].events = POLLIN;
    ready[i] = false;
  }
  const timespec limit = {.tv_sec = timeout_ms / 1000,
                          .tv_nsec = static_cast<long>(timeout_ms % 1000) * 1'000'000};
  const long found =
      raw_syscall(SYS_ppoll, reinterpret_cast<long>(all), static_cast<long>(count),
                  timeout_ms == kNoTimeout ? 0 : reinterpret_cast<long>(&limit), 0, 0);
  for (std::size_t i = 0; i < count && found > 0; ++i) ready[i] = all[i].revents != 0;
}

long LinuxOs::receive(long peer, char* buffer, std::size_t capacity) {
  return raw_syscall(SYS_recvfrom, peer, reinterpret_cast<long>(buffer),
                     static_cast<long>(capacity), MSG_DONTWAIT | MSG_TRUNC, 0, 0);
}

bool LinuxOs::send(long peer, const char* text, std::size_t size) {
  return !is_error(raw_syscall(SYS_sendto, peer, reinterpret_cast<long>(text),
                               static_cast<long>(size), MSG_NOSIGNAL, 0, 0));
}

void LinuxOs::hang_up(long peer) {
  // For the other end also where a child of fork still has it open.
  raw_syscall(SYS_shutdown, peer, SHUT_RDWR);
  close_file(peer);
}

std::uint64_t LinuxOs::socket_identity(long file) {
  struct stat status;
  if (file < 0 || fstat(static_cast<int>(file), &status) != 0 || !S_ISSOCK(status.st_mode)) {
    return 0;
  }
  return status.st_ino;
}

}  // namespace carrel::core
