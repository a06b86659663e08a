// Scenarios about the lock, and litmus tests of the checker's own memory: outcomes that C++ allows
// must be found, and those that it forbids must not.
#include <atomic>

#include "model_os.h"
#include "os/mutex.h"
#include "scenarios.h"

namespace model {
namespace {

using carrel::core::LockGuard;
using carrel::core::ModelOs;
using carrel::core::Mutex;

/// What two threads share; in the arena, so that races on it are seen.
struct Shared {
  Mutex<ModelOs> lock;
  std::atomic<int> x;
  std::atomic<int> y;
  int plain;
  int seen[2];
};
Shared& shared() { return *reinterpret_cast<Shared*>(kArenaStart); }

void fresh() {
  ModelOs::reset(4096);
  ::new (&shared()) Shared{};
}

void count_locked() {
  for (int i = 0; i < 2; ++i) {
    LockGuard guard(shared().lock);
    shared().plain = shared().plain + 1;
  }
}
void check_count() { require(shared().plain == 6, "the lock let two in"); }

// --- litmus tests: the outcomes that were seen, over all executions ------------------------------

void publish() {
  shared().plain = 1;
  shared().x.store(1, std::memory_order_release);
}
void subscribe() {
  if (shared().x.load(std::memory_order_acquire) == 1) {
    require(shared().plain == 1, "published, but not seen");
  }
}

template <std::memory_order kStore, std::memory_order kLoad>
void store_x_load_y() {
  shared().x.store(1, kStore);
  shared().seen[0] = shared().y.load(kLoad);
}
template <std::memory_order kStore, std::memory_order kLoad>
void store_y_load_x() {
  shared().y.store(1, kStore);
  shared().seen[1] = shared().x.load(kLoad);
}
void one_saw_the_other() {
  require(shared().seen[0] + shared().seen[1] >= 1, "each missed the other's store");
}
void fenced_x() {
  shared().x.store(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  shared().seen[0] = shared().y.load(std::memory_order_relaxed);
}
void fenced_y() {
  shared().y.store(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  shared().seen[1] = shared().x.load(std::memory_order_relaxed);
}
void read_x_twice() {
  const int first = shared().x.load(std::memory_order_relaxed);
  const int second = shared().x.load(std::memory_order_relaxed);
  require(second >= first, "a later load saw an older store");
}
void write_x_twice() {
  shared().x.store(1, std::memory_order_relaxed);
  shared().x.store(2, std::memory_order_relaxed);
}
void nothing() {}

}  // namespace

void add_lock_scenarios(std::vector<Scenario>& all) {
  constexpr auto kSc = std::memory_order_seq_cst;
  all.push_back({"lock",
                 "three threads and one lock, sleeping and waking",
                 3,
                 fresh,
                 {count_locked, count_locked, count_locked},
                 check_count,
                 {2, 1}});
  all.push_back(
      {"litmus_publish", "release and acquire", 2, fresh, {publish, subscribe}, nothing, {4, 4}});
  all.push_back({"litmus_dekker",
                 "seq_cst stores and loads",
                 2,
                 fresh,
                 {store_x_load_y<kSc, kSc>, store_y_load_x<kSc, kSc>},
                 one_saw_the_other,
                 {4, 4}});
  all.push_back({"litmus_fences",
                 "seq_cst fences",
                 2,
                 fresh,
                 {fenced_x, fenced_y},
                 one_saw_the_other,
                 {4, 4}});
  all.push_back({"litmus_coherence",
                 "one object's stores in order",
                 2,
                 fresh,
                 {write_x_twice, read_x_twice},
                 nothing,
                 {4, 4}});
}

/// Not among the scenarios: it must fail, or the checker sees no weak memory at all.
Scenario weak_dekker() {
  return {"litmus_weak",
          "release stores and acquire loads: each may miss the other",
          2,
          fresh,
          {store_x_load_y<std::memory_order_release, std::memory_order_acquire>,
           store_y_load_x<std::memory_order_release, std::memory_order_acquire>},
          one_saw_the_other,
          {4, 4}};
}

const std::vector<Scenario>& scenarios() {
  static const std::vector<Scenario> all = [] {
    std::vector<Scenario> list;
    add_lock_scenarios(list);
    add_block_scenarios(list);
    add_purge_scenarios(list);
    add_process_scenarios(list);
    return list;
  }();
  return all;
}

}  // namespace model
