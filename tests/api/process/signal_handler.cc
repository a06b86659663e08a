// Signal handlers that allocate. malloc may not be interrupted and entered again, so that a handler
// may allocate only where the program knows that no thread which it can interrupt is in malloc:
// here each thread but one sleeps outside of it, or raises the signal itself. Also on another
// stack, and in a thread that has not allocated before.
#include <pthread.h>
#include <signal.h>

#include <atomic>

#include "../support/check.h"
#include "../support/override.h"

namespace {

constexpr int kSignals = 300;
std::atomic<int> handled{0};
std::atomic<bool> done{false};
thread_local char* kept = nullptr;

void on_signal(int) {
  const auto round = static_cast<uint32_t>(handled.load());
  for (const size_t size : {24u, 700u, 20'000u, 200'000u}) {
    auto* block = static_cast<char*>(malloc(size + round));
    CHECK(block != nullptr);
    fill_block(block, 24, round);
    block = static_cast<char*>(realloc(block, 2 * size + round));
    CHECK(block_is_intact(block, 24, round));
    // The last one's successor frees it.
    free(kept);
    kept = block;
  }
  ++handled;
}

void* sleep_until_done(void* started) {
  *static_cast<std::atomic<bool>*>(started) = true;
  sigset_t none;
  sigemptyset(&none);
  while (!done) sigsuspend(&none);
  free(kept);
  return nullptr;
}

}  // namespace

int main() {
  static char stack[256 * 1024];
  stack_t other = {};
  other.ss_sp = stack;
  other.ss_size = sizeof stack;
  CHECK_EQ(sigaltstack(&other, nullptr), 0);
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK;
  CHECK_EQ(sigaction(SIGUSR1, &action, nullptr), 0);

  for (int i = 0; i < kSignals; ++i) CHECK_EQ(raise(SIGUSR1), 0);
  CHECK_EQ(handled, kSignals);

  // Blocked in the thread from its start on, but while it sleeps.
  sigset_t usr1;
  sigset_t before;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  CHECK_EQ(pthread_sigmask(SIG_BLOCK, &usr1, &before), 0);
  std::atomic<bool> started{false};
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, nullptr, sleep_until_done, &started), 0);
  CHECK_EQ(pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
  while (!started) usleep(1000);
  for (int i = 0; i < kSignals; ++i) {
    const int seen = handled;
    CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
    while (handled == seen) free(malloc(static_cast<size_t>(i) * 100));
  }
  done = true;
  CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
  CHECK_EQ(pthread_join(thread, nullptr), 0);
  // The thread may have seen that all is done before the last signal came.
  CHECK(handled == 2 * kSignals || handled == 2 * kSignals + 1);
  free(kept);
  return 0;
}
