// Pages of other kinds for ranges of the heap's address space, on Linux: files, reserved huge
// pages, pages of chosen nodes. libnuma is not needed: mbind is a system call.
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/bits.h"
#include "os/linux/linux_os.h"
#include "os/linux/syscall.h"

#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif

namespace carrel::core {
namespace {

long map_over(void* p, std::size_t bytes, int flags, long file, std::uint64_t offset) {
  const long result =
      raw_syscall(SYS_mmap, static_cast<long>(address_of(p)), static_cast<long>(bytes),
                  PROT_READ | PROT_WRITE, flags | MAP_FIXED, file, static_cast<long>(offset));
  return is_error(result) ? result : 0;
}

}  // namespace

long LinuxOs::map_file(void* p, std::size_t bytes, int file, std::uint64_t offset) {
  return map_over(p, bytes, MAP_SHARED, file, offset);
}

// Reserved with the mapping: without MAP_NORESERVE a lack shows now, not at a touch.
long LinuxOs::map_huge(void* p, std::size_t bytes) {
  return map_over(p, bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB, -1, 0);
}

long LinuxOs::bind_to_nodes(void* p, std::size_t bytes, std::uint64_t nodes) {
  // One more than there are bits: the kernel takes one off.
  return raw_syscall(SYS_mbind, static_cast<long>(address_of(p)), static_cast<long>(bytes),
                     MPOL_BIND, reinterpret_cast<long>(&nodes), 65, 0);
}

bool LinuxOs::purge_file(void* p, std::size_t bytes) {
  return !is_error(raw_syscall(SYS_madvise, static_cast<long>(address_of(p)),
                               static_cast<long>(bytes), MADV_REMOVE));
}

bool LinuxOs::look_at_file(int file, std::uint64_t& bytes, std::uint64_t& page_bytes) {
  struct stat status = {};
  if (fstat(file, &status) != 0) return false;
  bytes = static_cast<std::uint64_t>(status.st_size);
  struct statfs system = {};
  if (fstatfs(file, &system) != 0) return false;
  page_bytes = system.f_type == HUGETLBFS_MAGIC ? static_cast<std::uint64_t>(system.f_bsize)
                                                : LinuxOs::page_bytes();
  return true;
}

}  // namespace carrel::core
