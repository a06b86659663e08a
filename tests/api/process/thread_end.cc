// Allocation after a thread's own work is done: in every round of its pthread key
// destructors, in destructors of thread_local objects, after main has left by pthread_exit,
// and at process exit.
//
// The work is done in a child, which says in shared memory that it got to the end of what
// its way of leaving runs: an exit status alone would not show that.
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "../support/check.h"
#include "../support/child.h"
#include "../support/override.h"

namespace {

/// Allocates, checks and frees a mix of sizes; `kept` holds some until the next call.
void exercise(std::vector<void*>* kept) {
  uint64_t random = reinterpret_cast<uintptr_t>(kept) | 1;
  for (void* block : *kept) free(block);
  kept->clear();
  for (int i = 0; i < 200; ++i) {
    const size_t size = i % 50 == 0 ? 100000 : next_random(&random) % 3000;
    void* block = i % 3 == 0 ? calloc(1, size) : malloc(size);
    CHECK(block != nullptr);
    memset(block, i, size);
    if (i % 4 == 0) {
      kept->push_back(block);
    } else {
      free(block);
    }
  }
}

pthread_key_t keys[3];
std::atomic<int> rounds_run{0};

struct KeyState {
  int key;
  int rounds_left;
  std::vector<void*> kept;
};

// The C library runs destructors again while keys are set, PTHREAD_DESTRUCTOR_ITERATIONS
// times: an allocator that cleans up in one of the early rounds meets more work later.
void key_destructor(void* value) {
  auto* state = static_cast<KeyState*>(value);
  exercise(&state->kept);
  ++rounds_run;
  if (--state->rounds_left > 0) {
    CHECK_EQ(pthread_setspecific(keys[state->key], state), 0);
    return;
  }
  for (void* block : state->kept) free(block);
  delete state;
}

struct ThreadLocal {
  std::vector<void*> kept;
  std::string text = std::string(2000, 't');
  ~ThreadLocal() {
    CHECK(text.size() == 2000);
    exercise(&kept);
    for (void* block : kept) free(block);
  }
};

thread_local ThreadLocal local;

void thread_main(bool allocate_first) {
  std::vector<void*> kept;
  if (allocate_first) exercise(&kept);
  CHECK(local.text[0] == 't');
  for (int k = 0; k < 3; ++k) {
    CHECK_EQ(pthread_setspecific(keys[k], new KeyState{k, PTHREAD_DESTRUCTOR_ITERATIONS, {}}), 0);
  }
  for (void* block : kept) free(block);
}

/// What the child did on its way out, seen by the parent.
struct Progress {
  int exit_handlers_left;
  int destructors_left;
};

Progress* progress;
std::vector<void*>* exit_kept;

void at_exit() {
  exercise(exit_kept);
  ++progress->exit_handlers_left;
}

struct StaticObject {
  std::vector<void*> kept;
  StaticObject() { exercise(&kept); }
  ~StaticObject() {
    exercise(&kept);
    for (void* block : kept) free(block);
  }
} static_object;

__attribute__((destructor)) void last_destructor() {
  std::vector<void*> kept;
  exercise(&kept);
  for (void* block : kept) free(block);
  if (progress != nullptr) ++progress->destructors_left;
}

void run_threads() {
  for (pthread_key_t& key : keys) CHECK_EQ(pthread_key_create(&key, key_destructor), 0);
  constexpr int kThreads = 200;
  for (int i = 0; i < kThreads; i += 4) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) threads.emplace_back(thread_main, t % 2 == 0);
    for (std::thread& thread : threads) thread.join();
  }
  CHECK_EQ(rounds_run.load(), kThreads * 3 * PTHREAD_DESTRUCTOR_ITERATIONS);
}

[[noreturn]] void leave(const char* mode) {
  exit_kept = new std::vector<void*>;
  CHECK_EQ(atexit(at_exit), 0);
  CHECK_EQ(at_quick_exit(at_exit), 0);
  if (strcmp(mode, "quick_exit") == 0) quick_exit(0);
  if (strcmp(mode, "exit_from_thread") == 0) std::thread([] { exit(0); }).join();
  if (strcmp(mode, "pthread_exit") == 0) {
    std::thread([] {
      std::vector<void*> kept;
      for (int i = 0; i < 200; ++i) exercise(&kept);
      for (void* block : kept) free(block);
    }).detach();
    thread_main(true);
    pthread_exit(nullptr);
  }
  exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  require_override();
  const char* mode = argc > 1 ? argv[1] : "exit";
  void* shared =
      mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    progress = static_cast<Progress*>(shared);
    run_threads();
    leave(mode);
  }
  expect_success(child, 40);
  const auto* seen = static_cast<const Progress*>(shared);
  CHECK_EQ(seen->exit_handlers_left, 1);
  CHECK_EQ(seen->destructors_left, strcmp(mode, "quick_exit") == 0 ? 0 : 1);
  return 0;
}
