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

/* Gives back what the calling thread caches and every page that holds no live block, now; in
 * arenas, slabs that hold no live block.
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

/* --- Results ------------------------------------------------------------------------------- */

/* What the functions below return. Where it is not CARREL_OK, nothing was changed. */
typedef enum carrel_result {
  CARREL_OK = 0,
  CARREL_BAD_ARGUMENT = 1, /* a null pointer where one is needed, a bad alignment */
  CARREL_UNKNOWN_NAME = 2, /* no such control, option, class, shard or arena */
  CARREL_WRONG_TYPE = 3,   /* a number read or written as text, an action read, ... */
  CARREL_OUT_OF_RANGE = 4, /* a number or a word that the control does not accept */
  CARREL_READ_ONLY = 5,    /* it can be read only, or is fixed at the start */
  CARREL_TOO_SMALL = 6,    /* the buffer is too small for the text */
  CARREL_NO_MEMORY = 7,    /* memory is exhausted */
  CARREL_UNAVAILABLE = 8,  /* this build of the library, or the system, cannot */
  CARREL_IO_ERROR = 9,     /* a file could not be written; errno says why */
  CARREL_TOO_MANY = 10     /* there are as many of these as there can be */
} carrel_result;

/* One line of English about a result, without a full stop. Static storage. */
CARREL_API const char* carrel_result_text(carrel_result result);

/* --- Arenas -------------------------------------------------------------------------------- */

/* An arena is a set of blocks that can be given back at once, in a time that depends on the
 * memory they are in and not on their number. Its blocks are blocks like others: carrel_free,
 * carrel_realloc, carrel_usable_size, and free where malloc is carrel's, take them from any
 * thread. They are not cached by threads: a call takes the arena's lock. */
typedef struct carrel_arena carrel_arena;

/* A new arena without a limit; null and ENOMEM when memory is exhausted or 65,536 exist. */
CARREL_API carrel_arena* carrel_arena_create(void);

/* Pages of the program's own for an arena: by functions that back ranges of carrel's address space.
 * They are called with locks held: they must not allocate, free, or call carrel in any other way,
 * nor throw. commit and purge of one arena may run at the same time, on different ranges. */

/* Makes [address, address + size), which nobody uses, readable and writable memory of the program's
 * choice: mmap with MAP_FIXED, or mremap to there. Both are multiples of 2 MiB. 0 to refuse; what
 * was mapped there meanwhile is replaced. */
typedef int (*carrel_commit_pages)(void* context, void* address, size_t size);
/* Gives the pages of a part of it back, which must read as zero afterwards; 0 if that cannot be.
 * Address and size are multiples of 64 KiB. */
typedef int (*carrel_purge_pages)(void* context, void* address, size_t size);
/* Carrel is about to replace a range by memory of its own: whatever is mapped there goes. */
typedef void (*carrel_release_pages)(void* context, void* address, size_t size);

typedef struct carrel_page_hooks {
  void* context;
  carrel_commit_pages commit;
  carrel_purge_pages purge;     /* may be null: nothing is purged */
  carrel_release_pages release; /* may be null */
  uint64_t zeroed;              /* 1: what was committed reads as zero; 0: it may hold anything */
} carrel_page_hooks;

/* Where an arena has its memory from. */
typedef enum carrel_pages {
  CARREL_PAGES_OF_HEAP = 0,       /* what the heap has: ordinary memory */
  CARREL_PAGES_ADVISED_HUGE = 1,  /* the same in pieces of 2 MiB, advised for huge pages */
  CARREL_PAGES_RESERVED_HUGE = 2, /* the system's reserved huge pages of 2 MiB (vm.nr_hugepages) */
  CARREL_PAGES_OF_FILE = 3,       /* a file: shared memory, hugetlbfs, persistent memory (DAX) */
  CARREL_PAGES_OF_HOOKS = 4       /* the program's own functions */
} carrel_pages;

/* What an arena has of its own; all zero is an arena as of carrel_arena_create, except that its
 * free memory is its own too. */
typedef struct carrel_arena_options {
  uint64_t limit_bytes;      /* as by carrel_arena_set_limit; 0: none */
  uint64_t soft_limit_bytes; /* beyond it, what is freed is purged at once; 0: none */
  uint64_t own_decay;        /* 1: decay_ms counts; 0: the option decay_ms */
  uint64_t decay_ms;         /* after which free memory is purged, 0 to 20,000 */
  uint64_t numa_nodes;       /* bit I: pages come from node I and such only; 0: from anywhere */
  carrel_pages pages;
  int fd;                         /* OF_FILE: opened for reading and writing */
  uint64_t file_offset;           /* of the first byte; a multiple of the page size */
  uint64_t file_bytes;            /* how much of it, all that the arena will have: a multiple of
                                     64 KiB and of the file's huge pages */
  const carrel_page_hooks* hooks; /* OF_HOOKS: read now, and copied */
} carrel_arena_options;

/* A new arena with options, in `*arena`; pass sizeof(carrel_arena_options) as `size`.
 *
 * Its freed memory rests with it for its decay; then ordinary memory goes home to the heap. Other
 * pages are taken in pieces of 2 MiB (a file all at once), stay with the arena until it is
 * destroyed, and count as in use for the limits of the process until then; purging empties them.
 * Purging cuts holes into a file; a block whose pages the file system cannot supply then, or in a
 * sparse file, ends the process by SIGBUS when it is touched, also where the file had all its pages
 * before. Reserved huge pages are never purged. A file can be closed
 * afterwards; where it is shared memory, what another process does with its contents is that
 * process's business, and a child made by fork must leave the arena alone. Purging calls
 * hooks on any of the program's threads that is inside carrel, which must hold no lock that they
 * take; never on the helper thread.
 *
 * CARREL_BAD_ARGUMENT: a null pointer, a size too small, a file that is shorter or cannot be asked.
 * CARREL_OUT_OF_RANGE: a number that cannot be. CARREL_UNAVAILABLE with errno: the system refuses
 * huge pages (ENOMEM: too few are reserved), nodes (EINVAL: no such node; ENOSYS, EPERM) or the
 * file's mapping, or the hook refuses (errno 0). CARREL_NO_MEMORY. `*arena` is null then. */
CARREL_API carrel_result carrel_arena_create_with(const carrel_arena_options* options, size_t size,
                                                  carrel_arena** arena);

/* Where the file of an arena with CARREL_PAGES_OF_FILE is mapped, and its length in `*size`: a
 * block's place in the file is file_offset plus its distance from there. Null for other arenas. */
CARREL_API void* carrel_arena_region(const carrel_arena* arena, size_t* size);

/* Gives every block of the arena back, and the arena: neither may be used afterwards. Null is
 * ignored. CARREL_BAD_ARGUMENT for one that is already destroyed, if that is noticed. */
CARREL_API carrel_result carrel_arena_destroy(carrel_arena* arena);

/* Gives every block of the arena back; the arena stays, with its limit. */
CARREL_API carrel_result carrel_arena_reset(carrel_arena* arena);

/* As carrel_malloc, carrel_calloc, carrel_aligned_alloc. Null and ENOMEM also when the arena's
 * limit would be exceeded; null and EINVAL for a null arena or a bad alignment. */
CARREL_API void* carrel_arena_alloc(carrel_arena* arena, size_t size) CARREL_MALLOC_LIKE;
CARREL_API void* carrel_arena_calloc(carrel_arena* arena, size_t count,
                                     size_t size) CARREL_MALLOC_LIKE;
CARREL_API void* carrel_arena_aligned_alloc(carrel_arena* arena, size_t alignment,
                                            size_t size) CARREL_MALLOC_LIKE;

/* As carrel_realloc: null allocates from `arena`; any other block stays where it is from, this
 * arena, another, or none. */
CARREL_API void* carrel_arena_realloc(carrel_arena* arena, void* block, size_t size)
    __attribute__((warn_unused_result));

/* The arena that a live block is from; null for blocks that are from none, and for null. */
CARREL_API carrel_arena* carrel_arena_of(const void* block);

/* The arena's number in the names of controls: arena.NUMBER.live_bytes. A number is used again
 * after its arena was destroyed. UINT32_MAX for a null pointer. */
CARREL_API uint32_t carrel_arena_number(const carrel_arena* arena);

/* The most bytes of address space that the arena may take: slabs of 64 KiB and more, and large
 * blocks. SIZE_MAX is no limit. What is beyond a new limit stays until it is freed. */
CARREL_API carrel_result carrel_arena_set_limit(carrel_arena* arena, size_t bytes);

/* An arena in numbers, exact at one moment. Sizes are in bytes. */
typedef struct carrel_arena_stats {
  uint64_t live_bytes;       /* in the program's hands, rounded up to slots and pages */
  uint64_t live_blocks;      /* the blocks they are in */
  uint64_t active_bytes;     /* address space of the arena's slabs and large blocks */
  uint64_t peak_bytes;       /* the most that this has been */
  uint64_t limit_bytes;      /* the most that it may be; UINT64_MAX without a limit */
  uint64_t allocations;      /* blocks handed out so far */
  uint64_t soft_limit_bytes; /* see carrel_arena_options; UINT64_MAX without one */
  uint64_t free_bytes;       /* that it holds beside the active ones, with options of its own */
  uint64_t purged_bytes;     /* of what it held free, given back so far */
  uint64_t decay_ms;         /* after which they are; UINT32_MAX: the option decay_ms */
} carrel_arena_stats;

/* Fills the first `size` bytes of `stats`; pass sizeof(carrel_arena_stats). */
CARREL_API carrel_result carrel_arena_stats_read(carrel_arena* arena, carrel_arena_stats* stats,
                                                 size_t size);

/* Calls visit(context, block, size) for every live block, with its usable size, until it
 * returns 0. The arena is locked meanwhile: `visit` must not use an arena, read statistics or
 * fork, directly or by waiting for a thread that does; carrel_usable_size and the heap it may. */
CARREL_API carrel_result carrel_arena_walk(carrel_arena* arena,
                                           int (*visit)(void* context, void* block, size_t size),
                                           void* context);

/* The live block of the arena that `address` points to or into, with its usable size in `*size`
 * unless that is null; a null pointer if there is none. `address` may be any number. */
CARREL_API void* carrel_arena_find(carrel_arena* arena, const void* address, size_t* size);

/* --- Shortages ----------------------------------------------------------------------------- */

/* Why a request cannot be served, as far as that is known. */
typedef enum carrel_shortage_cause {
  CARREL_SHORT_OF_MEMORY = 0,      /* the system refuses, or grants no address space */
  CARREL_BEYOND_PROCESS_LIMIT = 1, /* the option limit_mib */
  CARREL_BEYOND_ARENA_LIMIT = 2,   /* carrel_arena_set_limit, or the arena is destroyed */
  CARREL_BEYOND_BUDGET = 3         /* carrel_budget_begin */
} carrel_shortage_cause;

/* A request that is about to fail. */
typedef struct carrel_shortage {
  uint64_t size;       /* bytes that were asked for */
  uint64_t alignment;  /* of large blocks and of arenas'; else 16, and `size` may be rounded up */
  carrel_arena* arena; /* that they were asked of; null for the heap */
  carrel_shortage_cause cause;
  uint32_t attempt; /* 1 at first, one more each time that the same request failed again */
} carrel_shortage;

/* Returns not 0 to have the request tried once more, 0 to let it fail: null and ENOMEM, in C++ the
 * new-handler or std::bad_alloc. */
typedef int (*carrel_shortage_handler)(void* context, const carrel_shortage* shortage);

/* Calls `handler` with `context` before a request fails for want of memory, after carrel has given
 * back what it can, on the thread that made the request and with none of carrel's locks held. It
 * may free and allocate, from this heap too; what it asks for itself fails without a further call.
 * It must not throw. It is not called for what could never succeed: more than PTRDIFF_MAX bytes,
 * a product that overflows; but also where a realloc then leaves the block in place. errno is kept.
 * One handler serves the process; null removes it. A thread that is just about to call the one
 * before may still do so. Always CARREL_OK. */
CARREL_API carrel_result carrel_set_shortage_handler(carrel_shortage_handler handler,
                                                     void* context);

/* The same for requests of one arena, for which the process's handler is then not called. Null: it
 * is again. CARREL_BAD_ARGUMENT for a null or destroyed arena. */
CARREL_API carrel_result carrel_arena_set_shortage_handler(carrel_arena* arena,
                                                           carrel_shortage_handler handler,
                                                           void* context);

/* --- Budgets ------------------------------------------------------------------------------- */

/* A bound on what the calling thread may have live more than when it began: what it allocates less
 * what it frees, whoever allocated that. What does not fit fails as when memory is exhausted: null
 * and ENOMEM, in C++ the new-handler or std::bad_alloc, after a shortage handler was asked.
 *
 * It is exact: used_bytes never exceeds the bound. Counted are whole slots and pages, as
 * carrel_good_size says in the default build; in the secure one a slot may be the next larger. Not
 * counted are blocks of arenas, and what other threads free. A realloc that copies needs room for
 * both blocks; one of a large block, which moves its pages, for the difference.
 *
 * Budgets of a thread lie one in another: a request must fit into all. While a thread has one, each
 * malloc and free of it takes some 70 instructions more; other threads are as fast as ever. */
typedef struct carrel_budget carrel_budget;

/* Begins a budget of `bytes` for the calling thread, in `*budget`: in the innermost that it has. It
 * ends with carrel_budget_end, or with the thread. A child made by fork has it too.
 * CARREL_BAD_ARGUMENT: a null pointer. CARREL_OUT_OF_RANGE: more than PTRDIFF_MAX.
 * CARREL_NO_MEMORY. CARREL_UNAVAILABLE: a thread that is about to end, or under memcheck or
 * AddressSanitizer, which do without carrel. */
CARREL_API carrel_result carrel_budget_begin(size_t bytes, carrel_budget** budget);

/* Ends a budget and all that began in it. CARREL_BAD_ARGUMENT if the calling thread has no such. */
CARREL_API carrel_result carrel_budget_end(carrel_budget* budget);

/* A budget in numbers. Sizes are in bytes. */
typedef struct carrel_budget_stats {
  uint64_t bound_bytes; /* as it was begun */
  int64_t used_bytes;   /* allocated less freed since; below 0 where more was freed */
  uint64_t peak_bytes;  /* the most that this has been */
  uint64_t room_bytes;  /* what still fits, into those around it too */
  uint64_t refusals;    /* requests that did not fit while it was the innermost */
} carrel_budget_stats;

/* Fills the first `size` bytes of `stats`; pass sizeof(carrel_budget_stats). CARREL_BAD_ARGUMENT if
 * the calling thread has no such budget, and for a null pointer. */
CARREL_API carrel_result carrel_budget_read(const carrel_budget* budget, carrel_budget_stats* stats,
                                            size_t size);

/* --- Statistics ---------------------------------------------------------------------------- */

/* The process in numbers, since the start where they count events. Gathered on demand; each
 * is exact at the moment its part was asked, together they may be off by what other threads
 * did meanwhile. Sizes are in bytes. New fields are added at the end. */
typedef struct carrel_stats {
  uint64_t live_bytes;              /* in the program's hands, rounded up to slots and pages */
  uint64_t live_blocks;             /* the blocks they are in */
  uint64_t cached_bytes;            /* free: in thread caches, and kept for large blocks */
  uint64_t active_bytes;            /* address space of slabs, large blocks, arenas, kept spans */
  uint64_t slab_bytes;              /* of it in slabs */
  uint64_t large_bytes;             /* in large blocks, rounded up to pages */
  uint64_t large_blocks;            /* how many these are */
  uint64_t mapped_bytes;            /* obtained from the system for blocks */
  uint64_t free_bytes;              /* of it in none of the above */
  uint64_t touched_bytes;           /* of the free ones: perhaps resident, waiting to be purged */
  uint64_t untouched_bytes;         /* of the free ones: known to hold no pages */
  uint64_t resident_bytes;          /* of the mapped ones: in memory now, as the system says */
  uint64_t metadata_bytes;          /* mapped for carrel's own records, apart from mapped_bytes */
  uint64_t metadata_resident_bytes; /* of these: in memory now, as the system says */
  uint64_t purged_bytes;            /* given back to the system so far */
  uint64_t purges;                  /* runs of pages given back so far */
  uint64_t refills;                 /* batches of blocks taken from slabs */
  uint64_t flushes;                 /* batches of blocks given back to slabs */
  uint64_t remote_frees;            /* blocks given back to slabs of another shard */
  uint64_t contended;               /* times that a thread had to wait for a lock */
  uint64_t spans;                   /* spans handed out, for slabs and large blocks */
  uint64_t extensions;              /* times that memory was obtained from the system */
  uint64_t threads;                 /* threads with a cache */
  uint64_t shards;                  /* sets of slabs that threads are dealt to */
  uint64_t arena_bytes;             /* of the active ones: in arenas */
  uint64_t arenas;                  /* arenas that exist */
  uint64_t used_bytes;              /* active and touched ones: what the limits are about */
  uint64_t refusals;                /* times that no memory was to be had, and none was got */
  uint64_t huge_bytes;              /* of the resident ones: in huge pages, as the system says */
  uint64_t retries;                 /* times that a shortage handler had a request tried again */
} carrel_stats;

/* Fills the first `size` bytes of `stats`; pass sizeof(carrel_stats). What lies beyond the
 * fields that this version of the library knows is zeroed. Costs some microseconds, and some
 * milliseconds per resident gigabyte, which the system is asked about. */
CARREL_API carrel_result carrel_stats_read(carrel_stats* stats, size_t size);

/* One size class over all shards; arenas are apart. */
typedef struct carrel_class_stats {
  uint64_t block_bytes;   /* size of its blocks */
  uint64_t slabs;         /* slabs that are cut into such blocks */
  uint64_t slots;         /* blocks that they have room for */
  uint64_t live_blocks;   /* in the program's hands */
  uint64_t cached_blocks; /* free, in thread caches */
  uint64_t refills;       /* as in carrel_stats, and so on */
  uint64_t flushes;
  uint64_t remote_frees;
  uint64_t contended;
} carrel_class_stats;

/* Fills up to `count` entries of `classes`, the smallest class first, and returns how many
 * classes there are. */
CARREL_API size_t carrel_stats_classes(carrel_class_stats* classes, size_t count);

/* One shard over all classes. */
typedef struct carrel_shard_stats {
  uint64_t threads;      /* that are dealt to it */
  uint64_t slabs;        /* that it owns */
  uint64_t slab_bytes;   /* address space of these */
  uint64_t used_bytes;   /* of it in blocks that are live or cached */
  uint64_t cached_bytes; /* in the caches of its threads, whatever shard the blocks are of */
  uint64_t refills;
  uint64_t flushes;
  uint64_t remote_frees;
  uint64_t contended;
} carrel_shard_stats;

/* As carrel_stats_classes, for shards. */
CARREL_API size_t carrel_stats_shards(carrel_shard_stats* shards, size_t count);

typedef enum carrel_format {
  CARREL_TEXT = 0,      /* for people */
  CARREL_JSON = 1,      /* one object; its member schema_version changes with its meaning */
  CARREL_PROMETHEUS = 2 /* Prometheus' text format 0.0.4 */
} carrel_format;

/* Writes all statistics piece by piece through `write`, which gets `context`, and text that is
 * not terminated. Allocates nothing itself; `write` may. */
CARREL_API carrel_result carrel_stats_print(carrel_format format,
                                            void (*write)(void* context, const char* text,
                                                          size_t size),
                                            void* context);

/* --- Heap profiles ------------------------------------------------------------------------- */

/* Which code allocates how much, by sampling: each byte that is allocated is sampled with the same
 * small probability, and the stack of the allocation it belongs to is kept, until the block is
 * freed as a live one. What is written is scaled to what all allocations are expected to be. Sizes
 * are those that were asked for; with an alignment above 16, small ones are the slot's, and realloc
 * in place leaves a small block's as it was. Blocks of arenas are not sampled. While no profile
 * runs, nothing of this costs time. CARREL_UNAVAILABLE: in the secure build, and where the
 * program has neither an unwinder nor, on x86-64, an index of the tables for one: as in static C
 * with musl. */

/* Begins to sample, every `interval` bytes on average; 0 for the option profile_interval_kib. If a
 * profile is running, only the interval changes; what was sampled before a stop is kept. This
 * thread follows now, others when they next need memory that they have not cached, or have to
 * give some back. May load a library: not from a function that the dynamic loader calls.
 * CARREL_OUT_OF_RANGE beyond 2^40, CARREL_NO_MEMORY. */
CARREL_API carrel_result carrel_profile_start(size_t interval);

/* Ends sampling, at once; a thread is as fast as before when it next passes a slow path. Sampled
 * blocks stay in the profile until they are freed. Nothing happens if none is running. */
CARREL_API carrel_result carrel_profile_stop(void);

/* Forgets all allocations and frees until now, and the peak, but not what is live.
 * CARREL_BAD_ARGUMENT if no profile was ever started. */
CARREL_API carrel_result carrel_profile_reset(void);

/* Writes the profile to a file: gzipped profile.proto, for `go tool pprof` and others, with the
 * sample types alloc_objects, alloc_space (since the start or the last reset), inuse_objects,
 * inuse_space (live now), peak_objects and peak_space (live when the most bytes were), and
 * freed_objects, freed_space and lifetime (what was freed since then, and how long its blocks lived
 * all together, in microseconds; a mean lifetime is lifetime / freed_objects). The samples of the
 * last three are apart by the numeric label lifetime_up_to, in nanoseconds: 1,000, 10,000 and so on
 * to 10 to the power of 13, whose samples lived longer than 1,000 seconds. Stacks are those of the
 * allocations. Addresses come with mappings and build ids, names are found later. Null `path`:
 * PREFIX.PID.NUMBER.pb.gz, the first NUMBER for which there is no file, with the environment's
 * CARREL_PROFILE_PREFIX, or else "carrel" in the working directory; a `path` that is given is
 * written over. Any thread may call this, but no signal handler: the option profile_signal is for
 * that. Allocates nothing. Threads that take samples, or free what was sampled, wait meanwhile: who
 * reads a pipe must be another process. After an error the file may be incomplete.
 * CARREL_BAD_ARGUMENT if no profile was ever started; CARREL_NO_MEMORY; CARREL_IO_ERROR. */
CARREL_API carrel_result carrel_profile_dump(const char* path);

/* The same to an open file, which stays open. CARREL_BAD_ARGUMENT if `fd` is negative. */
CARREL_API carrel_result carrel_profile_dump_fd(int fd);

/* --- Sample hooks -------------------------------------------------------------------------- */

/* What a hook is told of. */
typedef enum carrel_sample_event {
  CARREL_SAMPLE_ALLOCATED = 0, /* the block is about to be handed out; it may hold anything */
  CARREL_SAMPLE_FREED = 1      /* it is about to be given back; its contents are still there */
} carrel_sample_event;

/* A sampled block. */
typedef struct carrel_sample {
  void* block;
  uint64_t size;             /* bytes that were asked for, as in a heap profile */
  uint64_t usable_size;      /* bytes that the block has */
  uint64_t weight_bytes;     /* bytes of allocations that this sample stands for */
  uint64_t lifetime_ns;      /* of a freed one: since it was allocated */
  carrel_sample_event event; /* what happened */
} carrel_sample;

typedef void (*carrel_sample_hook)(void* context, const carrel_sample* sample);

/* Calls `hook` with `context` for sampled allocations: each byte that is allocated is a sample with
 * the same small probability, one in `interval` bytes (0: the option profile_interval_kib), as in a
 * heap profile, which may run or not and at another interval. The sum of weight_bytes is an
 * unbiased estimate of the bytes allocated. If `frees` is not 0, the hook is also called when a
 * block that it was told of is freed, by whichever thread, with the same weight_bytes.
 *
 * It is called on the thread that allocates or frees, with none of carrel's locks held, from within
 * malloc, free and their like, also on a thread that is about to end. It may use carrel and malloc,
 * and add or remove hooks: what it allocates is not sampled, and no hook is told of what it frees,
 * so that none is ever called within another. It must not free or resize the block it is told of,
 * throw, jump out, or wait for a thread that allocates. errno is kept. Several threads may be in
 * it at the same time. A realloc that resizes a block as large as 32 KiB, or moves one, is a free,
 * also if it then fails, and may be a new sample. Hooks are called in no particular order, and each
 * chooses its samples at its own interval. A child made by fork has them too, and hears of its own
 * allocations and frees; fork may be called in a hook.
 *
 * Threads follow as they follow carrel_profile_start; blocks of arenas are not sampled. While there
 * is no hook, nothing of this costs time. CARREL_BAD_ARGUMENT: null, or this pair of function and
 * context is there already. CARREL_OUT_OF_RANGE: an interval beyond 2^40. CARREL_TOO_MANY: 8 are
 * there. CARREL_NO_MEMORY. CARREL_UNAVAILABLE in the secure build. */
CARREL_API carrel_result carrel_sample_hook_add(carrel_sample_hook hook, void* context,
                                                size_t interval, int frees);

/* Removes this pair. Afterwards no thread is in the hook, and none will call it; called from within
 * a hook, it does not wait for that. It must not be called with a lock held that the hook takes.
 * CARREL_BAD_ARGUMENT: it is not there. */
CARREL_API carrel_result carrel_sample_hook_remove(carrel_sample_hook hook, void* context);

/* --- Controls ------------------------------------------------------------------------------ */

/* Named values and actions, listed in docs/TUNING.md and by carrel_ctl_list: for example
 * stats.resident_bytes, class.3.live_blocks, option.decay_ms, heap.purge. A name that holds a
 * number stands for one class, shard or arena. */

/* Reads a number; bytes, milliseconds or a count, as the list says. Words, such as those of
 * option.huge_pages, read as their position in the list, from 0 on. */
CARREL_API carrel_result carrel_ctl_read_u64(const char* name, uint64_t* value);

/* Reads any value as text into `buffer`, terminated: numbers in decimal, words as words.
 * CARREL_TOO_SMALL, with an empty text, if it does not fit. */
CARREL_API carrel_result carrel_ctl_read_text(const char* name, char* buffer, size_t capacity);

CARREL_API carrel_result carrel_ctl_write_u64(const char* name, uint64_t value);

/* Writes a number in decimal or a word. */
CARREL_API carrel_result carrel_ctl_write_text(const char* name, const char* value);

/* Does what an action's name says. */
CARREL_API carrel_result carrel_ctl_run(const char* name);

typedef enum carrel_ctl_type {
  CARREL_CTL_NUMBER = 0,
  CARREL_CTL_WORD = 1, /* a number in which each value has a name */
  CARREL_CTL_TEXT = 2,
  CARREL_CTL_ACTION = 3
} carrel_ctl_type;

/* What one control is; all text has static storage. */
typedef struct carrel_ctl_info {
  char name[48]; /* "<i>" stands for a number */
  const char* meaning;
  const char* unit; /* bytes, count, ms, KiB; empty for texts and actions */
  carrel_ctl_type type;
  int writable;
  uint64_t minimum; /* of what may be written */
  uint64_t maximum;
  const char* const* words; /* of a word: the values' names, at their positions; else null */
} carrel_ctl_info;

/* Describes the control number `index`, from 0 on; CARREL_OUT_OF_RANGE beyond the last. */
CARREL_API carrel_result carrel_ctl_list(size_t index, carrel_ctl_info* info);

/* Writes one line about a result that a function above gave for `name`, with the nearest name
 * or the range that is expected, into `buffer`. Returns `buffer`. */
CARREL_API const char* carrel_ctl_explain(const char* name, carrel_result result, char* buffer,
                                          size_t capacity);

#ifdef __cplusplus
}
#endif
