// Allocates known amounts at known places and writes heap profiles of that. The test that runs it,
// check_heap_profile.py, is told on standard output what should be in them.
//
//   profile FOLDER   writes live.pb.gz, after_reset.pb.gz and after_free.pb.gz there
#include <carrel/carrel.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "../support/sites.h"

SITE_OF(site_small, malloc(size))
SITE_OF(site_medium, calloc(1, size))
SITE_OF(site_large, malloc(size))
SITE_OF(site_churn, operator new(size))
SITE_OF(site_threads, malloc(size))
SITE_OF(site_aligned, aligned_alloc(256, size))
SITE_OF(site_off, malloc(size))
SITE void* site_grown(void* block, size_t size) {
  block = realloc(block, size);
  __asm__ volatile("" ::"r"(block) : "memory");
  return block;
}

namespace {

constexpr size_t kInterval = 64 * 1024;
std::vector<void*> kept;

void expect(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "profile: %s\n", what);
  exit(1);
}

void tell(const char* name, const void* function, size_t size, size_t allocated, size_t live) {
  printf("site %s %#lx %zu %zu %zu\n", name, reinterpret_cast<unsigned long>(function), size,
         allocated, live);
}

void allocate(const char* name, void* (*site)(size_t), size_t size, size_t count, size_t keep) {
  for (size_t i = 0; i < count; ++i) {
    void* block = site(size);
    expect(block != nullptr, "no memory");
    memset(block, 1, size < 64 ? size : 64);
    if (i < keep) {
      kept.push_back(block);
    } else {
      free(block);
    }
  }
  tell(name, reinterpret_cast<const void*>(site), size, count, keep);
}

void in_threads() {
  constexpr size_t kThreads = 4;
  constexpr size_t kEach = 100'000;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([] {
      for (size_t j = 0; j < kEach; ++j) free(site_threads(48));
    });
  }
  for (std::thread& thread : threads) thread.join();
  tell("threads", reinterpret_cast<const void*>(&site_threads), 48, kThreads * kEach, 0);
}

/// Blocks that grow: each step is an allocation.
void grown() {
  constexpr size_t kBlocks = 30;
  for (size_t i = 0; i < kBlocks; ++i) {
    void* block = nullptr;
    for (int step = 1; step <= 8; ++step) block = site_grown(block, 1'000'000);
    block = site_grown(block, 3'000'000);
    kept.push_back(block);
  }
  // So large that each is sampled: only the last size is live.
  printf("bytes grown %#lx %zu\n", reinterpret_cast<unsigned long>(&site_grown),
         kBlocks * 3'000'000);
}

/// The C library's buffers and the like may have been sampled.
bool only_strays_are_live() {
  uint64_t bytes = 0;
  return carrel_ctl_read_u64("profile.live_bytes", &bytes) == CARREL_OK && bytes < 8 * kInterval;
}

std::string path;
void dump(const char* name) {
  expect(carrel_profile_dump((path + "/" + name).c_str()) == CARREL_OK, "cannot write a profile");
}

}  // namespace

int main(int argc, char** argv) {
  expect(argc == 2, "usage: profile FOLDER");
  path = argv[1];
  expect(carrel_profile_dump(nullptr) == CARREL_BAD_ARGUMENT, "a dump without a profile");
  expect(carrel_profile_start(size_t{1} << 41) == CARREL_OUT_OF_RANGE, "an interval without end");
  free(site_off(100));
  expect(carrel_profile_start(kInterval) == CARREL_OK, "cannot start");
  uint64_t value = 0;
  expect(carrel_ctl_read_u64("profile.active", &value) == CARREL_OK && value == 1, "not active");

  print_sites();
  kept.reserve(1'000'000);
  allocate("small", site_small, 24, 1'000'000, 400'000);
  allocate("medium", site_medium, 1000, 60'000, 20'000);
  allocate("large", site_large, 100'000, 600, 200);
  allocate("churn", site_churn, 64, 1'000'000, 0);
  allocate("aligned", site_aligned, 256, 100'000, 1000);
  in_threads();
  grown();

  dump("live.pb.gz");
  expect(carrel_profile_dump("/nonexistent/folder/x") == CARREL_IO_ERROR, "an impossible path");
  expect(carrel_profile_reset() == CARREL_OK, "cannot reset");
  dump("after_reset.pb.gz");
  expect(carrel_ctl_write_u64("profile.active", 0) == CARREL_OK, "cannot stop");
  expect(carrel_ctl_write_u64("profile.active", 2) == CARREL_OUT_OF_RANGE, "2 is no switch");
  for (size_t i = 0; i < 1'000'000; ++i) free(site_off(100));

  // A child has the profile too, and may free what is in it.
  const pid_t child = fork();
  if (child == 0) {
    for (void* block : kept) free(block);
    std::vector<void*>().swap(kept);
    _exit(only_strays_are_live() ? 0 : 1);
  }
  int status = 0;
  expect(waitpid(child, &status, 0) == child && status == 0, "the child's profile is not empty");

  for (void* block : kept) free(block);
  std::vector<void*>().swap(kept);
  expect(only_strays_are_live(), "samples are left");
  const int file = open((path + "/after_free.pb.gz").c_str(), O_WRONLY | O_CREAT, 0600);
  expect(carrel_profile_dump_fd(file) == CARREL_OK, "cannot write to an open file");
  close(file);
  return 0;
}
