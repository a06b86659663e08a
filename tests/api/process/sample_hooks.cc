// Sample hooks in a real process: what they are told adds up to what was allocated, also from
// threads and by operator new; what they do themselves tells nobody; removing one waits for those
// inside; fork; bad arguments. With the argument "secure": they are not to be had there.
#include <carrel/carrel.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <carrel/carrel.hpp>
#include <cmath>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "../support/check.h"
#include "../support/override.h"

namespace {

constexpr std::size_t kInterval = 16 * 1024;

/// Live samples, in a map that allocates by carrel too, under a lock.
struct Live {
  std::mutex lock;
  std::map<void*, carrel_sample> blocks;
  double allocated_bytes = 0;
  double freed_bytes = 0;
  int inside = 0;  // on this lock
  std::uint64_t longest_ns = 0;

  void operator()(const carrel_sample& sample) {
    errno = EBADF;
    const std::lock_guard<std::mutex> guard(lock);
    CHECK_EQ(inside, 0);
    ++inside;
    CHECK(carrel_usable_size(sample.block) >= sample.size);
    CHECK_EQ(carrel_usable_size(sample.block), sample.usable_size);
    free(malloc(100'000));
    std::string text(1000, 'x');
    if (sample.event == CARREL_SAMPLE_ALLOCATED) {
      CHECK(blocks.emplace(sample.block, sample).second);
      allocated_bytes += static_cast<double>(sample.weight_bytes);
    } else {
      const auto found = blocks.find(sample.block);
      CHECK(found != blocks.end());
      CHECK_EQ(found->second.weight_bytes, sample.weight_bytes);
      CHECK_EQ(found->second.size, sample.size);
      blocks.erase(found);
      freed_bytes += static_cast<double>(sample.weight_bytes);
      if (sample.lifetime_ns > longest_ns) longest_ns = sample.lifetime_ns;
    }
    --inside;
  }
};

void expect_near(double found, std::size_t count, std::size_t size, const char* what) {
  const double chance = -std::expm1(-static_cast<double>(size) / kInterval);
  const double error =
      static_cast<double>(size) * std::sqrt(static_cast<double>(count) * (1 - chance) / chance);
  const double truth = static_cast<double>(count) * static_cast<double>(size);
  if (std::abs(found - truth) <= 5 * error + 20 * kInterval) return;
  fprintf(stderr, "%s: estimated %.0f bytes for %.0f, standard error %.0f\n", what, found, truth,
          error);
  exit(1);
}

void what_they_hear_adds_up() {
  Live live;
  CHECK_EQ(carrel::add_sample_hook(live, kInterval, true), CARREL_OK);
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kEach = 100'000;
  constexpr std::size_t kSize = 120;
  std::vector<std::thread> threads;
  std::vector<std::vector<char*>> kept(kThreads);
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&mine = kept[t]] {
      mine.reserve(kEach / 2);
      for (std::size_t i = 0; i < kEach; ++i) {
        auto* block = new char[kSize];
        errno = 0;
        block[0] = 1;
        CHECK_EQ(errno, 0);
        if (i % 2 == 0) {
          mine.push_back(block);
        } else {
          delete[] block;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  expect_near(live.allocated_bytes - 4.0 * (kEach / 2) * sizeof(char*), kThreads * kEach, kSize,
              "allocated");
  double still = 0;
  for (const auto& entry : live.blocks) still += static_cast<double>(entry.second.weight_bytes);
  CHECK(still == live.allocated_bytes - live.freed_bytes);
  usleep(20'000);
  for (auto& mine : kept) {
    for (char* block : mine) delete[] block;  // by another thread
    std::vector<char*>().swap(mine);
  }
  expect_near(live.freed_bytes - 4.0 * (kEach / 2) * sizeof(char*), kThreads * kEach, kSize,
              "freed");
  CHECK(live.longest_ns >= 20'000'000 && live.longest_ns < 3'600'000'000'000);
  CHECK_EQ(carrel::remove_sample_hook(live), CARREL_OK);
  const double before = live.allocated_bytes;
  for (int i = 0; i < 100'000; ++i) free(malloc(1000));
  CHECK(live.allocated_bytes == before);
}

void ignore(void*, const carrel_sample*) {}

void bad_arguments() {
  CHECK_EQ(carrel_sample_hook_remove(ignore, nullptr), CARREL_BAD_ARGUMENT);
  CHECK_EQ(carrel_sample_hook_add(nullptr, nullptr, 0, 0), CARREL_BAD_ARGUMENT);
  CHECK_EQ(carrel_sample_hook_add(ignore, nullptr, std::size_t{1} << 41, 0), CARREL_OUT_OF_RANGE);
  int contexts[9];
  for (int i = 0; i < 8; ++i)
    CHECK_EQ(carrel_sample_hook_add(ignore, &contexts[i], 0, 1), CARREL_OK);
  CHECK_EQ(carrel_sample_hook_add(ignore, &contexts[8], 0, 0), CARREL_TOO_MANY);
  CHECK_EQ(carrel_sample_hook_add(ignore, &contexts[0], 0, 0), CARREL_BAD_ARGUMENT);
  std::uint64_t count = 0;
  CHECK_EQ(carrel_ctl_read_u64("profile.hooks", &count), CARREL_OK);
  CHECK_EQ(count, 8);
  CHECK_EQ(carrel_ctl_read_u64("profile.active", &count), CARREL_OK);
  CHECK_EQ(count, 0);
  for (int& context : contexts) {
    CHECK_EQ(carrel_sample_hook_remove(ignore, &context),
             &context == &contexts[8] ? CARREL_BAD_ARGUMENT : CARREL_OK);
  }
  CHECK_EQ(carrel_ctl_read_u64("profile.hooks", &count), CARREL_OK);
  CHECK_EQ(count, 0);
}

/// A hook whose context may go as soon as it is removed.
struct Guarded {
  std::atomic<bool> there{true};
  std::atomic<int> calls{0};
};
void check_there(void* context, const carrel_sample*) {
  auto& guarded = *static_cast<Guarded*>(context);
  CHECK(guarded.there);
  if (++guarded.calls % 64 == 0) std::this_thread::yield();
  CHECK(guarded.there);
}

void removing_waits_for_those_inside() {
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&done] {
      void* blocks[64] = {};
      for (std::size_t i = 0; !done; ++i) {
        free(blocks[i % 64]);
        blocks[i % 64] = malloc(i % 7 == 0 ? 50'000 : 500);
      }
      for (void* block : blocks) free(block);
    });
  }
  for (int round = 0; round < 50; ++round) {
    Guarded guarded;
    CHECK_EQ(carrel_sample_hook_add(check_there, &guarded, 1024, 1), CARREL_OK);
    while (guarded.calls < 20) std::this_thread::yield();
    CHECK_EQ(carrel_sample_hook_remove(check_there, &guarded), CARREL_OK);
    guarded.there = false;
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
}

void remove_itself(void* context, const carrel_sample*) {
  ++*static_cast<int*>(context);
  CHECK_EQ(carrel_sample_hook_remove(remove_itself, context), CARREL_OK);
  CHECK_EQ(carrel_sample_hook_remove(remove_itself, context), CARREL_BAD_ARGUMENT);
}

void one_may_remove_itself() {
  int calls = 0;
  CHECK_EQ(carrel_sample_hook_add(remove_itself, &calls, 1, 1), CARREL_OK);
  for (int i = 0; i < 1000; ++i) free(malloc(1000));
  CHECK_EQ(calls, 1);
}

/// Beside a profile, which has none of what only hooks hear of.
void beside_a_profile() {
  Guarded guarded;
  CHECK_EQ(carrel_profile_start(std::size_t{1} << 40), CARREL_OK);
  CHECK_EQ(carrel_sample_hook_add(check_there, &guarded, 1, 1), CARREL_OK);
  void* block = malloc(100);
  CHECK_EQ(guarded.calls, 1);
  std::uint64_t samples = 0;
  CHECK_EQ(carrel_ctl_read_u64("profile.samples", &samples), CARREL_OK);
  CHECK_EQ(samples, 0);
  CHECK_EQ(carrel_profile_stop(), CARREL_OK);
  free(block);
  CHECK_EQ(guarded.calls, 2);
  CHECK_EQ(carrel_sample_hook_remove(check_there, &guarded), CARREL_OK);
}

void in_a_child() {
  Guarded guarded;
  CHECK_EQ(carrel_sample_hook_add(check_there, &guarded, 1, 1), CARREL_OK);
  void* block = malloc(300);
  const int before = guarded.calls;
  const pid_t child = fork();
  if (child == 0) {
    free(block);
    CHECK(guarded.calls > before);
    CHECK_EQ(carrel_sample_hook_remove(check_there, &guarded), CARREL_OK);
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  free(block);
  CHECK_EQ(carrel_sample_hook_remove(check_there, &guarded), CARREL_OK);
}

}  // namespace

int main(int argc, char**) {
  require_override();
  if (argc > 1) {
    CHECK_EQ(carrel_sample_hook_add(ignore, nullptr, 0, 0), CARREL_UNAVAILABLE);
    CHECK_EQ(carrel_sample_hook_remove(ignore, nullptr), CARREL_UNAVAILABLE);
    return 0;
  }
  bad_arguments();
  what_they_hear_adds_up();
  removing_waits_for_those_inside();
  one_may_remove_itself();
  beside_a_profile();
  in_a_child();
  return 0;
}
