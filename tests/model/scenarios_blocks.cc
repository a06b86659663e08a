// Scenarios about blocks that pass between threads: remote frees, slabs that change hands, threads
// that end while others use what they leave, double frees.
#include <string>

#include "heap/arena.h"
#include "model_heap.h"
#include "scenarios.h"

namespace model {
namespace {

using namespace carrel::core;
using Plain = ModelHeap<kModelConfig>;
using Secure = ModelHeap<kModelSecure>;

constexpr std::uint64_t kFirst = 0x1111;
constexpr std::uint64_t kSecond = 0x2222;

char* blocks[8];
int reports;

// --- remote_free: blocks of less than a cache line, freed by a thread of the other shard ---------

void remote_free_setup() {
  Plain::create(2);
  for (int i = 0; i < 3; ++i) blocks[i] = Plain::take(48, kFirst);
}
void remote_free_owner() {
  char* block = Plain::take(48, kFirst + 1);
  Plain::give(block, kFirst + 1);
  Plain::exit();
}
void remote_free_other() {
  for (int i = 0; i < 3; ++i) Plain::give(blocks[i], kFirst);
  char* block = Plain::take(48, kSecond);
  Plain::give(block, kSecond);
  Plain::exit();
}

// --- pass_on: a block given away while it is in use, by a release store alone --------------------

std::atomic<char*> mailbox;

void pass_on_setup() {
  Plain::create(2);
  mailbox = nullptr;
  Plain::give(Plain::take(48, 0), 0);
}
void pass_on_sender() {
  char* block = Plain::take(48, kFirst);
  mailbox.store(block, std::memory_order_release);
  Plain::exit();
}
void pass_on_receiver() {
  char* own = Plain::take(48, kSecond);
  if (char* block = mailbox.load(std::memory_order_acquire)) {
    Plain::give(block, kFirst);
    mailbox.store(nullptr, std::memory_order_relaxed);
  }
  Plain::give(own, kSecond);
  Plain::exit();
}
void pass_on_check() {
  if (char* block = mailbox.load()) Plain::give(block, kFirst);
  Plain::expect_clean();
}

// --- change_hands: slabs that become empty go to the pool and to another shard or class ----------

void change_hands_setup() {
  Plain::create(2);
  for (int i = 0; i < 2; ++i) blocks[i] = Plain::take(32 * kKiB, kFirst);
}
void change_hands_giver() {
  for (int i = 0; i < 2; ++i) Plain::give(blocks[i], kFirst);
  Plain::heap().flush_thread();
  Plain::heap().make_room();
}
void change_hands_taker() {
  char* block = Plain::take(32 * kKiB, kSecond);
  char* other = Plain::take(20 * kKiB, kSecond + 1);
  Plain::give(block, kSecond);
  Plain::give(other, kSecond + 1);
}

// --- thread_exit: a thread ends while others free its blocks and begin ---------------------------

void thread_exit_setup() {
  Plain::create(1);
  for (int i = 0; i < 2; ++i) blocks[i] = Plain::take(4 * kKiB, kFirst);
  Plain::give(Plain::take(4 * kKiB, kFirst), kFirst);
}
void thread_exit_leaver() {
  Plain::exit();
  // What a destructor that runs later may do.
  char* block = Plain::take(4 * kKiB, kFirst + 1);
  Plain::give(block, kFirst + 1);
}
void thread_exit_stayer() {
  Plain::give(blocks[0], kFirst);
  char* block = Plain::take(4 * kKiB, kSecond);
  Plain::give(blocks[1], kFirst);
  Plain::give(block, kSecond);
  Plain::exit();
}

// --- two double frees, of which exactly one is to be reported ------------------------------------

const char* expected_report;

template <class TheHeap>
void free_first() {
  try {
    TheHeap::heap().free(blocks[0]);
  } catch (const ModelAbort& said) {
    if (std::string(said.what()).find(expected_report) != std::string::npos) ++reports;
  }
}
void one_report() { require(reports == 1, "expected one report of a double free"); }

void large_twice_setup() {
  expected_report = "carrel: error ";  // which one depends on how far the other thread is
  Plain::create(1);
  reports = 0;
  blocks[0] = Plain::take(100 * kKiB, kFirst);
}
void secure_twice_setup() {
  expected_report = "carrel: error double-free";
  Secure::create(2);
  reports = 0;
  blocks[0] = Secure::take(64, kFirst);
}

// --- secure: what one thread frees and another takes reads as zero and has its canary ------------

void secure_pass_setup() {
  Secure::create(2);
  for (int i = 0; i < 3; ++i) blocks[i] = Secure::take(120, kFirst);
}
void secure_pass_giver() {
  for (int i = 0; i < 3; ++i) Secure::give(blocks[i], kFirst);
  Secure::exit();
}
void secure_pass_taker() {
  char* block = static_cast<char*>(Secure::heap().zero_allocate(120));
  require(block != nullptr, "no memory");
  Secure::expect(block, 0);
  *reinterpret_cast<std::uint64_t*>(block) = kSecond;
  Secure::give(block, kSecond);
  Secure::exit();
}

// --- arena: blocks of one arena, allocated, freed and emptied by two threads ---------------------

using TheArena = Arena<Plain::TheHeap::Os>;
TheArena* arena;

Span* span_of(char* block) { return Plain::heap().map().span_of(block); }

void arena_setup() {
  Plain::create(1);
  Plain::give(Plain::take(64, 0), 0);
  arena = ::new (Plain::heap().metadata().allocate(sizeof(TheArena)))
      TheArena(Plain::heap().context(), 1);
  arena->set_in_use(true);
  for (int i = 0; i < 2; ++i) {
    blocks[i] = static_cast<char*>(arena->allocate(32 * kKiB, 16, false));
    *blocks[i] = 1;
  }
}
void arena_freer() {
  for (int i = 0; i < 2; ++i) arena->free(span_of(blocks[i]), blocks[i], [] {});
  arena->release_empty();
}
void arena_user() {
  auto* block = static_cast<char*>(arena->allocate(32 * kKiB, 16, true));
  require(block != nullptr && *block == 0, "an arena's block does not read as zero");
  *block = 2;
  auto* large = static_cast<char*>(arena->allocate(100 * kKiB, 16, true));
  require(large != nullptr && *large == 0, "an arena's large block does not read as zero");
  arena->free(span_of(large), large, [] {});
  arena->free(span_of(block), block, [] {});
}
void arena_check() {
  ArenaTotals totals;
  arena->totals(totals);
  require(totals.live_blocks == 0 && totals.live_bytes == 0, "the arena counts blocks");
  arena->reset();
  Plain::expect_clean();
}

}  // namespace

void add_block_scenarios(std::vector<Scenario>& all) {
  all.push_back({"remote_free",
                 "small blocks freed by a thread of another shard",
                 2,
                 remote_free_setup,
                 {remote_free_owner, remote_free_other},
                 Plain::expect_clean,
                 {2, 1}});
  all.push_back({"pass_on",
                 "a block handed over by a release store alone",
                 2,
                 pass_on_setup,
                 {pass_on_sender, pass_on_receiver},
                 pass_on_check,
                 {2, 1}});
  all.push_back({"change_hands",
                 "a slab goes from one shard to another",
                 2,
                 change_hands_setup,
                 {change_hands_giver, change_hands_taker},
                 Plain::expect_clean,
                 {1, 1}});
  all.push_back({"thread_exit",
                 "a thread ends while its blocks are freed",
                 2,
                 thread_exit_setup,
                 {thread_exit_leaver, thread_exit_stayer},
                 Plain::expect_clean,
                 {2, 1}});
  all.push_back({"large_twice",
                 "a large block freed by two threads",
                 2,
                 large_twice_setup,
                 {free_first<Plain>, free_first<Plain>},
                 one_report,
                 {2, 1},
                 true});
  all.push_back({"secure_twice",
                 "hardened: a block freed by two threads",
                 2,
                 secure_twice_setup,
                 {free_first<Secure>, free_first<Secure>},
                 one_report,
                 {3, 2},
                 true});
  all.push_back({"secure_pass",
                 "hardened: freed by one thread, zero for another",
                 2,
                 secure_pass_setup,
                 {secure_pass_giver, secure_pass_taker},
                 Secure::expect_clean,
                 {2, 1}});
  all.push_back({"arena",
                 "blocks of one arena, of two threads",
                 2,
                 arena_setup,
                 {arena_freer, arena_user},
                 arena_check,
                 {2, 1}});
}

}  // namespace model
