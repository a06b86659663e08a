// The only macros of the core: what C++20 cannot express portably.
#pragma once

#define CARREL_INLINE inline __attribute__((always_inline))
#define CARREL_NOINLINE __attribute__((noinline))
#define CARREL_COLD __attribute__((noinline, cold))
/// For the few constants that every process reads: among the data that the dynamic loader writes
/// before it protects them, on pages that are there anyway. Those of the other constants then need
/// not be. Each in a section of its own name, as the linker drops all copies of it but one.
#define CARREL_START_DATA(name) __attribute__((section(".data.rel.ro." name)))
/// Makes the compiler forget what it knows of a value's range, where that leads it astray.
#define CARREL_OPAQUE(value) __asm__("" : "+r"(value))
#define CARREL_LIKELY(x) __builtin_expect(static_cast<bool>(x), 1)
#define CARREL_UNLIKELY(x) __builtin_expect(static_cast<bool>(x), 0)

/// How thread-local state is addressed: at a fixed offset, in space that the C library keeps for
/// libraries loaded late and may run out of. Defined otherwise where the core becomes part of one.
#ifndef CARREL_TLS_MODEL
#define CARREL_TLS_MODEL "initial-exec"
#endif
