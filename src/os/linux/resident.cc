// How much of a range is in memory: the kernel's answer, page by page. For statistics only.
#include <sys/mman.h>

#include "base/bits.h"
#include "os/linux/linux_os.h"
#include "os/linux/syscall.h"

namespace carrel::core {

std::size_t LinuxOs::resident_bytes(const void* p, std::size_t bytes) {
  constexpr std::size_t kPagesAtOnce = 2048;
  unsigned char resident[kPagesAtOnce];
  const std::size_t page = page_bytes();
  const std::uintptr_t start = address_of(p);
  std::size_t pages_in = 0;
  for (std::size_t offset = 0; offset < bytes;) {
    std::size_t piece = kPagesAtOnce * page;
    if (piece > bytes - offset) piece = bytes - offset;
    const long result = raw_syscall(SYS_mincore, static_cast<long>(start + offset),
                                    static_cast<long>(piece), reinterpret_cast<long>(resident));
    if (!is_error(result)) {
      for (std::size_t i = 0; i < (piece + page - 1) / page; ++i) pages_in += resident[i] & 1u;
    }
    offset += piece;
  }
  return pages_in * page;
}

}  // namespace carrel::core
