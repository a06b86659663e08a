// Static probes (USDT): places where bpftrace, perf, SystemTap or gdb can look in from outside,
// e.g.
//
//   bpftrace -e 'usdt:/usr/lib/libcarrel.so:carrel:refill { @[arg0] = count(); }'
//
// A probe is one nop in the code and a note in the file that names it and tells where its two
// arguments, 64 bits each, are found; the layout of the note is SystemTap's, version 3. Nobody
// watching, it costs the nop. Probes stand on slow paths only; docs/TUNING.md lists them.
#pragma once

#include <cstdint>

namespace carrel::core {

inline std::uint64_t probe_argument(std::uint64_t value) { return value; }
inline std::uint64_t probe_argument(const void* pointer) {
  return reinterpret_cast<std::uint64_t>(pointer);
}

}  // namespace carrel::core

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))

// The note: sizes of its three parts; owner; then address of the nop, of an anchor by which tools
// see how far the file was relocated, and of a semaphore (none); provider, name, arguments.
#define CARREL_PROBE(name, first, second)                                   \
  __asm__ volatile(                                                         \
      "990: nop\n"                                                          \
      ".pushsection .note.stapsdt,\"?\",%%note\n"                           \
      ".balign 4\n"                                                         \
      ".4byte 992f-991f, 994f-993f, 3\n"                                    \
      "991: .asciz \"stapsdt\"\n"                                           \
      "992: .balign 4\n"                                                    \
      "993: .8byte 990b, _.stapsdt.base, 0\n"                               \
      ".asciz \"carrel\"\n"                                                 \
      ".asciz \"" name                                                      \
      "\"\n"                                                                \
      ".asciz \"8@%0 8@%1\"\n"                                              \
      "994: .balign 4\n"                                                    \
      ".popsection\n"                                                       \
      ".ifndef _.stapsdt.base\n"                                            \
      ".pushsection .stapsdt.base,\"aG\",%%progbits,.stapsdt.base,comdat\n" \
      ".weak _.stapsdt.base\n"                                              \
      ".hidden _.stapsdt.base\n"                                            \
      "_.stapsdt.base: .space 1\n"                                          \
      ".size _.stapsdt.base, 1\n"                                           \
      ".popsection\n"                                                       \
      ".endif\n" ::"nor"(::carrel::core::probe_argument(first)),            \
      "nor"(::carrel::core::probe_argument(second)))

#else

#define CARREL_PROBE(name, first, second) \
  static_cast<void>(::carrel::core::probe_argument(first) + ::carrel::core::probe_argument(second))

#endif
