/* carrel's C API: the same heap that serves malloc, under names of its own.
 *
 * Every function here works whether or not the program's malloc is carrel's: link
 * libcarrel to replace malloc too, or libcarrel-prefixed to have only these.
 *
 * Units are bytes unless a name says otherwise. Every function may be called from any
 * thread at any time, also before main, from constructors, thread-exit destructors and
 * after fork in the child; none may be called from a signal handler. A block may be
 * freed by another thread than the one that allocated it.
 *
 * Errors: exhaustion is a null pointer with errno set to ENOMEM; a bad argument is a null
 * pointer or a false return with errno set to EINVAL, where a function says so. Misuse of
 * memory (a double free, a pointer that was never carrel's) that is noticed ends the
 * process with one line on standard error that names the error and the pointer.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define CARREL_API __attribute__((visibility("default")))
#define CARREL_MALLOC_LIKE __attribute__((malloc, warn_unused_result))
#else
#define CARREL_API
#define CARREL_MALLOC_LIKE
#endif

#define CARREL_VERSION_MAJOR 0
#define CARREL_VERSION_MINOR 1
#define CARREL_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/* At least `size` bytes, aligned to 16; unspecified contents. Zero bytes are a unique
 * block. Null and ENOMEM when memory is exhausted or size exceeds PTRDIFF_MAX. */
CARREL_API void* carrel_malloc(size_t size) CARREL_MALLOC_LIKE;

/* `count * size` bytes, all zero, aligned to 16. Null and ENOMEM also when the product
 * overflows. Memory that is known to be zero is not written. */
CARREL_API void* carrel_calloc(size_t count, size_t size) CARREL_MALLOC_LIKE;

/* At least `size` bytes aligned to `alignment`, a power of two of at most half the address
 * space (otherwise null and EINVAL). Size need not be a multiple of the alignment. */
CARREL_API void* carrel_aligned_alloc(size_t alignment, size_t size) CARREL_MALLOC_LIKE;

/* Gives a block back; null is ignored. Keeps errno. */
CARREL_API void carrel_free(void* block);

/* As carrel_free, for a caller who knows the size that was asked for: `size` must be the
 * size given to the allocation, or one between it and carrel_usable_size(block). The
 * block must come from carrel_malloc, carrel_calloc or carrel_realloc. */
CARREL_API void carrel_free_sized(void* block, size_t size);

/* As carrel_free_sized, for blocks from carrel_aligned_alloc(alignment, size). */
CARREL_API void carrel_free_sized_aligned(void* block, size_t size, size_t alignment);

/* Resizes a block, in place where possible (large blocks grow by moving page tables, not
 * bytes). Null `block`: as carrel_malloc. Zero `size`: frees the block and returns null.
 * On failure null and ENOMEM; the old block stays valid. The result is aligned to 16. */
CARREL_API void* carrel_realloc(void* block, size_t size) __attribute__((warn_unused_result));

/* Resizes a block that was allocated with `alignment`; the result keeps it. `old_size` is
 * the size that was asked for. Zero `new_size` is not a free: it yields a unique block.
 * Null and EINVAL for a bad alignment; null and ENOMEM on exhaustion, with the old block
 * left valid. */
CARREL_API void* carrel_realloc_sized_aligned(void* block, size_t old_size, size_t new_size,
                                              size_t alignment) __attribute__((warn_unused_result));

/* The bytes that may be used in `block`, at least what was asked for; 0 for null. */
CARREL_API size_t carrel_usable_size(const void* block);

/* The bytes that an allocation of `size` would really get: asking for them costs nothing
 * more. Returns `size` itself when no allocation of it could succeed. */
CARREL_API size_t carrel_good_size(size_t size);

/* Gives back what the calling thread caches and every page that holds no live block, now.
 * Returns the bytes handed to the operating system. */
CARREL_API size_t carrel_purge(void);

/* The version of the library that is running, for example "0.1.0". Static storage. */
CARREL_API const char* carrel_version(void);

/* Options compiled into a program: define this symbol as "key=value,..." (the keys are
 * those of the environment variable CARREL_OPTIONS, which wins over it). */
CARREL_API extern const char* carrel_options __attribute__((weak));

/* Sets one option while the program runs. Returns 1 when it took effect; 0 with errno
 * EINVAL for an unknown key, a bad value or an option that is read only at start. */
CARREL_API int carrel_set_option(const char* key, const char* value);

#ifdef __cplusplus
}
#endif
