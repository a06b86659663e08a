// Whether Valgrind, or its memcheck, runs the program: asked by a client request. That is a
// sequence of instructions which do nothing on a processor and which Valgrind takes for a call.
#include "base/bits.h"
#include "os/linux/linux_os.h"

namespace carrel::core {
namespace {

/// Of memcheck's requests, the one that copies the state of some bytes' bits. Other tools of
/// Valgrind do not know it.
constexpr unsigned long kGetBits = 'M' << 24 | 'C' << 16 | 8;

/// Of every tool's: whether this is Valgrind, and how deep.
constexpr unsigned long kRunsUnderValgrind = 0x1001;

/// `fallback` where nobody takes the request: on a processor, or under another tool.
unsigned long ask(const unsigned long (&request)[6], unsigned long fallback) {
#if defined(__x86_64__)
  // Turned round by 128 bits in all, and exchanged with itself.
  unsigned long result = fallback;
  __asm__ volatile(
      "rolq $3, %%rdi\n\trolq $13, %%rdi\n\trolq $61, %%rdi\n\trolq $51, %%rdi\n\t"
      "xchgq %%rbx, %%rbx"
      : "+d"(result)
      : "a"(&request[0])
      : "cc", "memory");
  return result;
#elif defined(__aarch64__)
  register unsigned long result __asm__("x3") = fallback;
  register const unsigned long* words __asm__("x4") = &request[0];
  __asm__ volatile(
      "ror x12, x12, #3\n\tror x12, x12, #13\n\tror x12, x12, #51\n\tror x12, x12, #61\n\t"
      "orr x10, x10, x10"
      : "+r"(result)
      : "r"(words)
      : "cc", "memory");
  return result;
#else
  static_cast<void>(request);
  return fallback;
#endif
}

}  // namespace

bool LinuxOs::under_memcheck() {
  constexpr unsigned long kDone = 1;
  unsigned char byte = 0;
  unsigned char bits = 0;
  const unsigned long request[6] = {kGetBits, address_of(&byte), address_of(&bits), 1, 0, 0};
  return ask(request, 0) == kDone;
}

bool LinuxOs::under_valgrind() {
  const unsigned long request[6] = {kRunsUnderValgrind, 0, 0, 0, 0, 0};
  return ask(request, 0) != 0;
}

}  // namespace carrel::core
