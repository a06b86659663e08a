// Scenarios about memory that goes back to the system while it is wanted, and about the helper
// thread that sends it.
#include "model_heap.h"
#include "scenarios.h"

namespace model {
namespace {

using namespace carrel::core;
using Plain = ModelHeap<kModelConfig>;

constexpr std::uint64_t kFirst = 0x1111;
constexpr std::uint64_t kSecond = 0x2222;

char* blocks[20];

/// Blocks of this size come from the pool and go back there at once: in so small a heap a thread
/// keeps no span of more than four granules.
constexpr std::size_t kBig = 5 * kGranuleBytes;

// --- sweep: holes in a slab are purged while blocks of it are freed and taken --------------------

void sweep_setup() {
  Plain::create(1);
  for (int i = 0; i < 6; ++i) blocks[i] = Plain::take(8 * kKiB, kFirst);
  for (int i = 0; i < 3; ++i) Plain::give(blocks[i], kFirst);
  Plain::heap().flush_thread();
}
void sweep_purger() { Plain::heap().purger().purge_all(); }
void sweep_user() {
  char* block = Plain::take(8 * kKiB, kSecond);
  for (int i = 3; i < 6; ++i) Plain::give(blocks[i], kFirst);
  Plain::give(block, kSecond);
  Plain::exit();
}

// --- sweep_empty: the slab becomes empty and leaves while it is looked at ------------------------

void sweep_empty_setup() {
  Plain::create(1);
  for (int i = 0; i < 2; ++i) blocks[i] = Plain::take(32 * kKiB, kFirst);
}
void sweep_empty_user() {
  for (int i = 0; i < 2; ++i) Plain::give(blocks[i], kFirst);
  Plain::heap().flush_thread();
  char* block = Plain::take(100 * kKiB, kSecond);
  Plain::give(block, kSecond);
}

// --- purge_pool: free spans are purged while large blocks are taken and freed --------------------

void purge_pool_setup() {
  Plain::create(1);
  Plain::give(Plain::take(2 * kBig, kFirst), kFirst);
}
void use_zeros(std::size_t size) {
  auto* block = static_cast<char*>(Plain::heap().zero_allocate(size));
  require(block != nullptr, "no memory");
  Plain::expect(block, 0);
  *reinterpret_cast<std::uint64_t*>(block) = kSecond;
  Plain::give(block, kSecond);
}
void purge_pool_user() { use_zeros(kBig); }

// --- kept: what a thread keeps for its next large block is taken from it -------------------------

void kept_setup() {
  Plain::create(1);
  for (int i = 0; i < 2; ++i) blocks[i] = Plain::take(100 * kKiB, kFirst);
  Plain::give(blocks[0], kFirst);
}
void kept_user() {
  char* block = Plain::take(100 * kKiB, kSecond);
  Plain::give(blocks[1], kFirst);
  Plain::give(block, kSecond);
  use_zeros(100 * kKiB);
}

// --- two_purgers: purges meet each other ---------------------------------------------------------

void two_purgers_setup() {
  Plain::create(1);
  for (int i = 0; i < 4; ++i) blocks[i] = Plain::take(8 * kKiB, kFirst);
  for (int i = 0; i < 2; ++i) Plain::give(blocks[i], kFirst);
  Plain::heap().flush_thread();
  Plain::give(Plain::take(kBig, 0), 0);
}
void two_purgers_check() {
  for (int i = 2; i < 4; ++i) Plain::give(blocks[i], kFirst);
  Plain::expect_clean();
}

// --- grow: a large block grows into memory that is being freed -----------------------------------

void grow_setup() {
  Plain::create(1);
  for (int i = 0; i < 3; ++i) blocks[i] = Plain::take(kBig, kFirst + i);
}
void grow_grower() {
  auto* block = static_cast<char*>(Plain::heap().reallocate(blocks[0], 2 * kBig, 16));
  require(block != nullptr, "no memory");
  Plain::give(block, kFirst);
}
void grow_neighbour() { Plain::give(blocks[1], kFirst + 1); }
void grow_check() {
  Plain::give(blocks[2], kFirst + 2);
  Plain::expect_clean();
}

// --- limit: two threads near the hard limit ------------------------------------------------------

constexpr std::size_t kLimit = 8 * kGranuleBytes;

void limit_setup() {
  Plain::create(1);
  blocks[0] = Plain::take(100 * kKiB, kFirst);
  Plain::heap().pool().set_limits(SIZE_MAX, kLimit);
}
void limit_user() {
  auto* block = static_cast<char*>(Plain::slow(200 * kKiB));
  Plain::heap().pool().lock();  // else the sum is of numbers of different moments
  const std::size_t used = Plain::heap().pool().used_granules();
  Plain::heap().pool().unlock();
  require(used <= kLimit >> kGranuleShift, "beyond the limit");
  if (block == nullptr) return;
  *reinterpret_cast<std::uint64_t*>(block) = kSecond;
  Plain::give(block, kSecond);
}
void limit_check() {
  Plain::give(blocks[0], kFirst);
  Plain::expect_clean();
}

// --- helper: the helper thread ends while there is new work for it -------------------------------

void helper_setup() {
  Plain::create(1);
  Plain::give(Plain::take(kBig, kFirst), kFirst);  // starts it
  require(ModelOs::threads_started() == 1, "expected the helper to be started");
  // It purges, sees nothing to do for ten ticks, and is about to end.
  ModelOs::choose_from_wait(11);
  choose_later();
}
void helper_run() { Plain::heap().run_purger(); }
void helper_user() { Plain::give(Plain::take(kBig, kSecond), kSecond); }
void helper_check() {
  // Whoever noticed the work, it was done before the last helper ended.
  require(Plain::heap().pool().totals().touched == 0, "nobody purges what is free");
  require(!Plain::heap().purger().helper_running(), "a helper is expected that is gone");
  Plain::expect_clean();
}

// --- helper_sweep: the same for slabs to be looked at --------------------------------------------

std::uint32_t sweep_until;

void helper_sweep_user() {
  sweep_until = Plain::heap().purger().ticks() + 20;  // or later
  Plain::heap().purger().request_sweep();
}
void helper_sweep_check() {
  // Time passes by the helper's sleep alone: one was there until the request ran out.
  require(Plain::heap().purger().ticks() + 1 >= sweep_until, "nobody sweeps the slabs");
  Plain::expect_clean();
}

}  // namespace

void add_purge_scenarios(std::vector<Scenario>& all) {
  all.push_back({"sweep",
                 "holes of a slab purged while it is used",
                 2,
                 sweep_setup,
                 {sweep_purger, sweep_user},
                 Plain::expect_clean,
                 {2, 1}});
  all.push_back({"sweep_empty",
                 "a slab leaves while it is swept",
                 2,
                 sweep_empty_setup,
                 {sweep_purger, sweep_empty_user},
                 Plain::expect_clean,
                 {1, 1}});
  all.push_back({"purge_pool",
                 "free spans purged while they are wanted",
                 2,
                 purge_pool_setup,
                 {sweep_purger, purge_pool_user},
                 Plain::expect_clean,
                 {2, 1}});
  all.push_back({"kept",
                 "spans kept by a thread taken by another",
                 2,
                 kept_setup,
                 {sweep_purger, kept_user},
                 Plain::expect_clean,
                 {2, 1}});
  all.push_back({"two_purgers",
                 "two threads purge",
                 2,
                 two_purgers_setup,
                 {sweep_purger, sweep_purger},
                 two_purgers_check,
                 {2, 1}});
  all.push_back({"grow",
                 "a large block grows while its neighbour is freed",
                 2,
                 grow_setup,
                 {grow_grower, grow_neighbour},
                 grow_check,
                 {1, 1}});
  all.push_back({"limit",
                 "two threads at the hard limit",
                 2,
                 limit_setup,
                 {limit_user, limit_user},
                 limit_check,
                 {1, 1}});
  all.push_back({"helper",
                 "the helper ends while memory is freed",
                 2,
                 helper_setup,
                 {helper_run, helper_user, helper_run},
                 helper_check,
                 {2, 1}});
  all.push_back({"helper_sweep",
                 "the helper ends while a sweep is asked for",
                 2,
                 helper_setup,
                 {helper_run, helper_sweep_user, helper_run},
                 helper_sweep_check,
                 {2, 1}});
}

}  // namespace model
