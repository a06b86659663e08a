/* The checks of jemalloc_compat.h, compiled as C and as C++: names, types, sizes and errors are
 * those that a program written for jemalloc expects. */
#pragma once

#include <carrel/jemalloc_compat.h>

#include "../support/check.h"
#include "../support/override.h"

static size_t read_size(const char* name) {
  size_t value = 0;
  size_t size = sizeof value;
  CHECK_EQ(mallctl(name, &value, &size, NULL, 0), 0);
  return value;
}

static unsigned read_unsigned(const char* name) {
  unsigned value = 0;
  size_t size = sizeof value;
  CHECK_EQ(mallctl(name, &value, &size, NULL, 0), 0);
  return value;
}

static bool read_bool(const char* name) {
  bool value = false;
  size_t size = sizeof value;
  CHECK_EQ(mallctl(name, &value, &size, NULL, 0), 0);
  return value;
}

static void check_statistics(void) {
  static void* blocks[10000];
  uint64_t epoch = 1;
  size_t size = sizeof epoch;
  size_t before;
  size_t i;
  CHECK_EQ(mallctl("epoch", &epoch, &size, &epoch, size), 0);
  before = read_size("stats.allocated");
  for (i = 0; i < 10000; i++) {
    blocks[i] = opaque_pointer(malloc(512));
    memset(blocks[i], 1, 512);
  }
  CHECK_EQ(read_size("stats.allocated") - before, 5120000);
  CHECK_LE(read_size("stats.allocated"), read_size("stats.active"));
  CHECK_LE(read_size("stats.active"), read_size("stats.mapped"));
  CHECK_LE(5120000, read_size("stats.resident"));
  CHECK_LE(1, read_size("stats.metadata"));
  CHECK_LE(read_size("stats.retained"), read_size("stats.mapped"));
  for (i = 0; i < 10000; i++) free(blocks[i]);
  CHECK_EQ(mallctl("thread.tcache.flush", NULL, NULL, NULL, 0), 0);
  CHECK_EQ(mallctl("arena.0.purge", NULL, NULL, NULL, 0), 0);
  CHECK_EQ(mallctl("arena.4096.decay", NULL, NULL, NULL, 0), 0);
  CHECK_LE(read_size("stats.resident"), 4000000);
}

static void check_options(void) {
  const char* version = NULL;
  size_t size = sizeof version;
  ssize_t decay = 0;
  ssize_t other = 1500;
  bool off = false;
  CHECK_EQ(mallctl("version", &version, &size, NULL, 0), 0);
  CHECK_EQ(strcmp(version, carrel_version()), 0);
  CHECK(read_bool("config.stats") && read_bool("opt.tcache"));
  CHECK(!read_bool("opt.stats_print"));
  CHECK_EQ(read_unsigned("opt.narenas"), read_unsigned("arenas.narenas"));
  CHECK_LT(read_unsigned("thread.arena"), read_unsigned("arenas.narenas"));
  CHECK_EQ(read_size("arenas.page"), sysconf(_SC_PAGESIZE));
  CHECK_EQ(read_size("arenas.quantum"), 16);
  CHECK_EQ(read_size("arenas.tcache_max"), 32768);
  CHECK_EQ(read_unsigned("arenas.nbins"), carrel_stats_classes(NULL, 0));
  size = sizeof decay;
  CHECK_EQ(mallctl("arenas.dirty_decay_ms", &decay, &size, &other, sizeof other), 0);
  CHECK_EQ(decay, 500);
  CHECK_EQ(mallctl("opt.dirty_decay_ms", &decay, &size, NULL, 0), 0);
  CHECK_EQ(decay, 1500);
  CHECK(read_bool("background_thread"));
  CHECK_EQ(mallctl("background_thread", NULL, NULL, &off, sizeof off), 0);
  CHECK(!read_bool("background_thread") && !read_bool("opt.background_thread"));
}

static void check_errors(void) {
  size_t value = 77;
  size_t size = sizeof value;
  size_t wrong = 4;
  ssize_t negative = -1;
  ssize_t too_much = 1000000;
  CHECK_EQ(mallctl("stats.allocatd", &value, &size, NULL, 0), ENOENT);
  CHECK_EQ(mallctl("thread.allocated", &value, &size, NULL, 0), ENOENT);
  CHECK_EQ(mallctl("arena.x.purge", NULL, NULL, NULL, 0), ENOENT);
  CHECK_EQ(mallctl("arena..purge", NULL, NULL, NULL, 0), ENOENT);
  CHECK_EQ(mallctl("arena.1.purges", NULL, NULL, NULL, 0), ENOENT);
  CHECK_EQ(mallctl(NULL, NULL, NULL, NULL, 0), EINVAL);
  CHECK_EQ(mallctl("stats.allocated", &value, &wrong, NULL, 0), EINVAL);
  CHECK_EQ(mallctl("stats.allocated", NULL, NULL, &value, sizeof value), EPERM);
  CHECK_EQ(mallctl("version", NULL, NULL, &value, sizeof value), EPERM);
  CHECK_EQ(mallctl("thread.tcache.flush", &value, &size, NULL, 0), EPERM);
  CHECK_EQ(mallctl("arenas.dirty_decay_ms", NULL, NULL, &negative, sizeof negative), EINVAL);
  CHECK_EQ(mallctl("arenas.dirty_decay_ms", NULL, NULL, &too_much, sizeof too_much), EINVAL);
  CHECK_EQ(mallctl("arenas.dirty_decay_ms", NULL, NULL, &negative, 4), EINVAL);
  CHECK_EQ(mallctl("opt.dirty_decay_ms", NULL, NULL, &value, sizeof value), EPERM);
  CHECK_EQ(mallctl("epoch", NULL, NULL, &value, 4), EINVAL);
  CHECK_EQ(value, 77);
  CHECK_EQ(carrel_ctl_read_u64("option.decay_ms", NULL), CARREL_BAD_ARGUMENT);
  value = sizeof negative;
  CHECK_EQ(mallctl("arenas.dirty_decay_ms", &negative, &value, NULL, 0), 0);
  CHECK_EQ(negative, 500);
}

static void count_text(void* opaque, const char* text) { *(size_t*)opaque += strlen(text); }

static int check_compat(void) {
  size_t text = 0;
  size_t json = 0;
  require_override();
  check_statistics();
  check_errors();
  check_options();
  malloc_stats_print(count_text, &text, NULL);
  malloc_stats_print(count_text, &json, "Ja");
  malloc_stats_print(NULL, NULL, NULL);
  CHECK_LE(1000, text);
  CHECK_LE(1000, json);
  return 0;
}
