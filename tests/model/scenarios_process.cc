// Scenarios about the heap's first use, fork, and a thread's first call.
#include "model_heap.h"
#include "scenarios.h"

namespace model {
namespace {

using namespace carrel::core;
using Plain = ModelHeap<kModelConfig>;

constexpr std::uint64_t kFirst = 0x1111;
constexpr std::uint64_t kSecond = 0x2222;

char* blocks[4];

// --- first_use: two threads make the heap usable at the same moment ------------------------------

void first_use_setup() { Plain::create(2); }
void first_use_thread() {
  char* block = Plain::take(64, kFirst + static_cast<std::uint64_t>(thread_number()));
  Plain::give(block, kFirst + static_cast<std::uint64_t>(thread_number()));
  Plain::exit();
}

// --- fork_purge: what the child sees is whole, whatever the parent was purging -------------------

std::size_t used_slots;

void fork_purge_setup() {
  Plain::create(1);
  for (int i = 0; i < 4; ++i) blocks[i] = Plain::take(8 * kKiB, kFirst);
  for (int i = 0; i < 2; ++i) Plain::give(blocks[i], kFirst);
  Plain::heap().flush_thread();
  Plain::give(Plain::take(100 * kKiB, 0), 0);
  used_slots = Plain::walk();
}
void fork_purge_forker() {
  Plain::heap().before_fork();
  // The child would find what is here now.
  require(Plain::walk() == used_slots, "slots are lost to a child");
  Plain::heap().after_fork_in_parent();
}
void fork_purge_purger() { Plain::heap().purger().purge_all(); }
void fork_purge_check() {
  for (int i = 2; i < 4; ++i) Plain::give(blocks[i], kFirst);
  Plain::expect_clean();
}

// --- fork_use: all locks are had in order while another thread is at work ------------------------

void fork_use_setup() {
  Plain::create(2);
  blocks[0] = Plain::take(32 * kKiB, kFirst);
}
void fork_use_forker() {
  Plain::heap().before_fork();
  Plain::heap().after_fork_in_parent();
}
void fork_use_user() {
  Plain::give(blocks[0], kFirst);
  char* block = Plain::take(100 * kKiB, kSecond);
  Plain::give(block, kSecond);
  Plain::exit();
}

}  // namespace

void add_process_scenarios(std::vector<Scenario>& all) {
  all.push_back({"first_use",
                 "two threads make the heap usable",
                 2,
                 first_use_setup,
                 {first_use_thread, first_use_thread},
                 Plain::expect_clean,
                 {1, 1}});
  all.push_back({"fork_purge",
                 "fork while memory is purged",
                 2,
                 fork_purge_setup,
                 {fork_purge_forker, fork_purge_purger},
                 fork_purge_check,
                 {2, 1}});
  all.push_back({"fork_use",
                 "fork while another thread is at work",
                 2,
                 fork_use_setup,
                 {fork_use_forker, fork_use_user},
                 Plain::expect_clean,
                 {1, 1}});
}

}  // namespace model
