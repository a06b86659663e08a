/* jemalloc's mallctl and malloc_stats_print over carrel, for programs that were written for them:
 * include this instead of <jemalloc/jemalloc.h> and link carrel. C99 and C++; header only.
 *
 * The names that are answered, with jemalloc's types; docs/TUNING.md maps them to carrel's:
 *   version (const char*)   epoch (uint64_t, may be written)   config.stats (bool)
 *   stats.allocated stats.active stats.resident stats.mapped stats.metadata stats.retained (size_t)
 *   arenas.narenas (unsigned)   arenas.page arenas.quantum arenas.tcache_max (size_t)
 *   arenas.nbins (unsigned)   thread.arena (unsigned)   thread.tcache.flush (action)
 *   arena.<i>.purge arena.<i>.decay (action; any i: carrel's heap is one)
 *   background_thread (bool, may be written)   arenas.dirty_decay_ms (ssize_t, may be written)
 *   opt.narenas (unsigned)   opt.dirty_decay_ms (ssize_t)   opt.tcache opt.background_thread
 *   opt.stats_print (bool)
 * Everything else is ENOENT; among it thread.allocated and its like, because carrel does not count
 * single calls. Arenas of jemalloc's kind (arena.<i>, MALLOCX_ARENA) do not exist.
 *
 * As in jemalloc: 0, or EINVAL (sizes do not fit; a bad value), ENOENT (no such name), EPERM
 * (written or read where that cannot be). Where it is not 0, nothing was changed. Thread-safe. */
#pragma once

#include <carrel/carrel.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What mallctl does for one name. */
enum carrel_compat_type {
  CARREL_COMPAT_SIZE,     /* size_t */
  CARREL_COMPAT_UNSIGNED, /* unsigned */
  CARREL_COMPAT_SSIZE,    /* ssize_t */
  CARREL_COMPAT_BOOL,
  CARREL_COMPAT_ACTION
};

struct carrel_compat_name {
  const char* name;
  const char* control;  /* carrel's; null where `fixed` is the answer */
  const char* added_to; /* a second one, whose value is added */
  size_t fixed;
  enum carrel_compat_type type;
  int writable;
};

/* Copies a value out, if the caller wants one; EINVAL when the sizes differ. */
static inline int carrel_compat_give(void* oldp, size_t* oldlenp, const void* value, size_t size) {
  if (oldp == NULL || oldlenp == NULL) return 0;
  if (*oldlenp != size) return EINVAL;
  memcpy(oldp, value, size);
  return 0;
}

static inline int carrel_compat_error(carrel_result result) {
  switch (result) {
    case CARREL_OK:
      return 0;
    case CARREL_UNKNOWN_NAME:
      return ENOENT;
    case CARREL_READ_ONLY:
      return EPERM;
    case CARREL_NO_MEMORY:
      return EAGAIN;
    default:
      return EINVAL;
  }
}

static inline const struct carrel_compat_name* carrel_compat_find(const char* name) {
  static const struct carrel_compat_name kNames[] = {
      {"stats.allocated", "stats.live_bytes", NULL, 0, CARREL_COMPAT_SIZE, 0},
      {"stats.active", "stats.active_bytes", NULL, 0, CARREL_COMPAT_SIZE, 0},
      {"stats.resident", "stats.resident_bytes", "stats.metadata_resident_bytes", 0,
       CARREL_COMPAT_SIZE, 0},
      {"stats.mapped", "stats.mapped_bytes", NULL, 0, CARREL_COMPAT_SIZE, 0},
      {"stats.metadata", "stats.metadata_bytes", NULL, 0, CARREL_COMPAT_SIZE, 0},
      {"stats.retained", "stats.untouched_bytes", NULL, 0, CARREL_COMPAT_SIZE, 0},
      {"arenas.narenas", "stats.shards", NULL, 0, CARREL_COMPAT_UNSIGNED, 0},
      {"opt.narenas", "option.shards", NULL, 0, CARREL_COMPAT_UNSIGNED, 0},
      {"arenas.page", "heap.page_bytes", NULL, 0, CARREL_COMPAT_SIZE, 0},
      {"arenas.quantum", NULL, NULL, 16, CARREL_COMPAT_SIZE, 0},
      {"arenas.tcache_max", "heap.max_slot_bytes", NULL, 0, CARREL_COMPAT_SIZE, 0},
      {"arenas.nbins", "heap.classes", NULL, 0, CARREL_COMPAT_UNSIGNED, 0},
      {"thread.arena", "thread.shard", NULL, 0, CARREL_COMPAT_UNSIGNED, 0},
      {"thread.tcache.flush", "thread.flush", NULL, 0, CARREL_COMPAT_ACTION, 0},
      {"arena.<i>.purge", "heap.purge", NULL, 0, CARREL_COMPAT_ACTION, 0},
      {"arena.<i>.decay", "heap.purge", NULL, 0, CARREL_COMPAT_ACTION, 0},
      {"arenas.dirty_decay_ms", "option.decay_ms", NULL, 0, CARREL_COMPAT_SSIZE, 1},
      {"opt.dirty_decay_ms", "option.decay_ms", NULL, 0, CARREL_COMPAT_SSIZE, 0},
      {"background_thread", "option.purge_thread", NULL, 0, CARREL_COMPAT_BOOL, 1},
      {"opt.background_thread", "option.purge_thread", NULL, 0, CARREL_COMPAT_BOOL, 0},
      {"opt.stats_print", "option.stats_at_exit", NULL, 0, CARREL_COMPAT_BOOL, 0},
      {"opt.tcache", NULL, NULL, 1, CARREL_COMPAT_BOOL, 0},
      {"config.stats", NULL, NULL, 1, CARREL_COMPAT_BOOL, 0},
  };
  size_t i;
  for (i = 0; i < sizeof kNames / sizeof kNames[0]; i++) {
    const char* at = strstr(kNames[i].name, "<i>");
    const size_t before = at == NULL ? 0 : (size_t)(at - kNames[i].name);
    if (at == NULL ? strcmp(name, kNames[i].name) == 0
                   : strncmp(name, kNames[i].name, before) == 0) {
      const size_t digits = at == NULL ? 0 : strspn(name + before, "0123456789");
      if (at == NULL) return &kNames[i];
      if (digits != 0 && strcmp(name + before + digits, at + 3) == 0) return &kNames[i];
    }
  }
  return NULL;
}

/* A value to be written, as a number; EINVAL when its size does not fit or it is negative. */
static inline int carrel_compat_take(enum carrel_compat_type type, const void* newp, size_t newlen,
                                     uint64_t* value) {
  bool flag = false;
  ssize_t number = 0;
  if (type == CARREL_COMPAT_BOOL && newlen == sizeof flag) {
    memcpy(&flag, newp, sizeof flag);
    *value = flag ? 1 : 0;
    return 0;
  }
  if (type == CARREL_COMPAT_SSIZE && newlen == sizeof number) {
    memcpy(&number, newp, sizeof number);
    *value = (uint64_t)number;
    return number < 0 ? EINVAL : 0;
  }
  return EINVAL;
}

static inline int carrel_compat_read(const struct carrel_compat_name* entry, void* oldp,
                                     size_t* oldlenp) {
  uint64_t value = entry->fixed;
  uint64_t more = 0;
  size_t as_size;
  unsigned as_unsigned;
  bool as_bool;
  if (oldp == NULL || oldlenp == NULL) return 0;
  if (entry->control != NULL) {
    carrel_result result = carrel_ctl_read_u64(entry->control, &value);
    if (result == CARREL_OK && entry->added_to != NULL) {
      result = carrel_ctl_read_u64(entry->added_to, &more);
    }
    if (result != CARREL_OK) return carrel_compat_error(result);
    value += more;
  }
  as_size = (size_t)value; /* and ssize_t, of the same size */
  as_unsigned = (unsigned)value;
  as_bool = value != 0;
  switch (entry->type) {
    case CARREL_COMPAT_UNSIGNED:
      return carrel_compat_give(oldp, oldlenp, &as_unsigned, sizeof as_unsigned);
    case CARREL_COMPAT_BOOL:
      return carrel_compat_give(oldp, oldlenp, &as_bool, sizeof as_bool);
    default:
      return carrel_compat_give(oldp, oldlenp, &as_size, sizeof as_size);
  }
}

/* Reads, writes or does what `name` stands for; see above. */
static inline int mallctl(const char* name, void* oldp, size_t* oldlenp, void* newp,
                          size_t newlen) {
  const struct carrel_compat_name* entry;
  uint64_t value = 0;
  int error;
  if (name == NULL) return EINVAL;
  if (strcmp(name, "version") == 0) {
    const char* version = carrel_version();
    if (newp != NULL) return EPERM;
    return carrel_compat_give(oldp, oldlenp, &version, sizeof version);
  }
  if (strcmp(name, "epoch") == 0) { /* statistics are always those of now */
    if (newp != NULL && newlen != sizeof value) return EINVAL;
    if (newp != NULL) memcpy(&value, newp, sizeof value);
    return carrel_compat_give(oldp, oldlenp, &value, sizeof value);
  }
  entry = carrel_compat_find(name);
  if (entry == NULL) return ENOENT;
  if (entry->type == CARREL_COMPAT_ACTION) {
    if (oldp != NULL || oldlenp != NULL || newp != NULL || newlen != 0) return EPERM;
    return carrel_compat_error(carrel_ctl_run(entry->control));
  }
  if (newp != NULL) {
    if (!entry->writable) return EPERM;
    error = carrel_compat_take(entry->type, newp, newlen, &value);
    if (error != 0) return error;
  }
  error = carrel_compat_read(entry, oldp, oldlenp);
  if (error != 0 || newp == NULL) return error;
  return carrel_compat_error(carrel_ctl_write_u64(entry->control, value));
}

/* How malloc_stats_print's callback is fed. */
struct carrel_compat_sink {
  void (*write)(void* opaque, const char* text);
  void* opaque;
};

static inline void carrel_compat_write(void* context, const char* text, size_t size) {
  const struct carrel_compat_sink* sink = (const struct carrel_compat_sink*)context;
  char piece[256];
  while (size > 0) {
    const size_t part = size < sizeof piece ? size : sizeof piece - 1;
    memcpy(piece, text, part);
    piece[part] = '\0';
    sink->write(sink->opaque, piece);
    text += part;
    size -= part;
  }
}

/* All statistics through `write` piece by piece: as text, or as JSON where `options` contains a J.
 * The JSON is carrel's, not jemalloc's. A null `write` is an error that does nothing. */
static inline void malloc_stats_print(void (*write)(void* opaque, const char* text), void* opaque,
                                      const char* options) {
  struct carrel_compat_sink sink;
  sink.write = write;
  sink.opaque = opaque;
  if (write == NULL) return;
  (void)carrel_stats_print(
      options != NULL && strchr(options, 'J') != NULL ? CARREL_JSON : CARREL_TEXT,
      carrel_compat_write, &sink);
}

#ifdef __cplusplus
}
#endif
