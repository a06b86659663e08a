// Fibers and the choice of who runs; see runtime.h.
#include "runtime.h"

#include <ucontext.h>

#include <cstdio>
#include <ctime>
#include <exception>
#include <map>
#include <stdexcept>
#include <unordered_map>
#include <unordered_set>

namespace model {
namespace {

constexpr std::size_t kStackBytes = std::size_t{256} << 10;
constexpr std::uint64_t kMostSteps = 200'000;

enum class State { kIdle, kReady, kBlocked, kSleeping, kDone };

struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(kStackBytes);
  State state = State::kIdle;
  std::uintptr_t blocked_on = 0;
  void (*entry)() = nullptr;
  // The last atomic load, to tell a loop that only waits.
  std::uintptr_t loaded_at = 0;
  std::uint64_t loaded = 0;
  std::uintptr_t loading_pc = 0;
};

/// Which threads have used an atomic object in any execution so far.
struct Use {
  std::uint8_t users = 0;
  std::uint8_t writers = 0;
  bool shared = false;  // as of the beginning of this walk, so that repeating is exact
};

Explorer explorer;
const Scenario* scenario = nullptr;
Fiber fibers[kMaxThreads];
ucontext_t outside;
int current = 0;
bool active = false;    // the threads run; else setup or check
bool choosing = false;  // and have choices
bool tracing = false;
std::uint64_t steps = 0;
std::string failure;
std::unordered_map<std::uintptr_t, Use> uses;
bool uses_grew = false;
std::map<std::uintptr_t, Site> sites;
std::unordered_set<std::uintptr_t> weakened;

/// Processor time of this process: what else the machine does is no part of it.
double seconds_used() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

bool is_shared(const Use& use) {
  const bool several = (use.users & (use.users - 1)) != 0;
  return several && use.writers != 0;
}

void go_to(int next) {
  const int from = current;
  current = next;
  memory::set_thread(next);
  if (from != next) swapcontext(&fibers[from].context, &fibers[next].context);
}

/// Threads that could run, beginning after the current one.
int runnable(int (&found)[kMaxThreads], bool also_sleeping) {
  int count = 0;
  for (int i = 1; i < kMaxThreads; ++i) {
    const int thread = (current + i) % kMaxThreads;
    const State state = fibers[thread].state;
    if (state == State::kReady || (also_sleeping && state == State::kSleeping)) {
      found[count++] = thread;
    }
  }
  return count;
}

/// Runs another thread, since this one cannot go on; returns when it can again.
void run_others() {
  int found[kMaxThreads];
  int count = runnable(found, false);
  if (count == 0 && fibers[current].state == State::kSleeping) {
    fibers[current].state = State::kReady;  // its time has come
    return;
  }
  if (count == 0) count = runnable(found, true);
  if (count == 0) {
    for (const Fiber& fiber : fibers) {
      if (fiber.state == State::kBlocked) fail("deadlock: a thread waits that nobody wakes");
    }
    setcontext(&outside);
  }
  const int next = found[choosing ? explorer.choose_thread(count) : 0];
  fibers[next].state = State::kReady;
  go_to(next);
}

void preempt_or_not() {
  if (++steps > kMostSteps) fail("no end in sight: a thread loops");
  if (!choosing) return;
  int found[kMaxThreads];
  const int count = runnable(found, true);
  if (count == 0) return;
  const int way = explorer.choose_preemption(count + 1);
  if (way == 0) return;
  fibers[found[way - 1]].state = State::kReady;
  go_to(found[way - 1]);
}

/// Before an atomic access: a place to stop at, if others use the object too.
void point(std::uintptr_t address, bool write) {
  Use& use = uses[address];
  const auto bit = static_cast<std::uint8_t>(1u << current);
  if ((use.users & bit) == 0 || (write && (use.writers & bit) == 0)) {
    const bool before = is_shared(use);
    use.users |= bit;
    if (write) use.writers |= bit;
    if (is_shared(use) != before) uses_grew = true;
  }
  if (use.shared) preempt_or_not();
}

int order_at(std::uintptr_t pc, const char* operation, int order) {
  if (order != kRelaxed) sites.try_emplace(pc, Site{pc, operation, order});
  return weakened.empty() || weakened.count(pc) == 0 ? order : static_cast<int>(kRelaxed);
}

void trace(const char* operation, std::uintptr_t address, std::uint64_t value, int order,
           std::uintptr_t pc) {
  static const char* const kNames[] = {"relaxed", "consume", "acquire",
                                       "release", "acq_rel", "seq_cst"};
  if (!tracing || !active) return;
  std::printf("thread %d  %-8s %#14lx  %#18lx  %s  pc %#lx\n", current, operation, address, value,
              kNames[order], pc - 1);
}

void report(const Race& race) {
  if (scenario->misuse) return;
  char text[200];
  std::snprintf(text, sizeof text, "race on %#lx: thread %d at pc %#lx, thread %d at pc %#lx",
                race.address, race.first_thread, race.first_pc - 1, race.second_thread,
                race.second_pc - 1);
  fail(text);
}

void run_fiber() {
  try {
    fibers[current].entry();
  } catch (const std::exception& error) {
    failure = error.what();
    setcontext(&outside);
  }
  fibers[current].state = State::kDone;
  run_others();
}

void make_fiber(int number, void (*entry)()) {
  Fiber& fiber = fibers[number];
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.data();
  fiber.context.uc_stack.ss_size = fiber.stack.size();
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, run_fiber, 0);
  fiber.entry = entry;
  fiber.state = State::kReady;
  fiber.loading_pc = 0;
}

void run_alone(void (*function)()) {
  active = false;
  current = 0;
  try {
    function();
  } catch (const std::exception& error) {
    if (failure.empty()) failure = error.what();
  }
}

/// One execution; what went wrong is in `failure`.
void run_once() {
  explorer.rewind();
  memory::reset();
  failure.clear();
  steps = 0;
  choosing = true;
  run_alone(scenario->setup);
  for (Fiber& fiber : fibers) fiber.state = State::kIdle;
  for (int i = 0; i < scenario->threads; ++i) make_fiber(i, scenario->body[i]);
  active = true;
  current = 0;
  memory::set_thread(0);
  volatile bool ran = false;  // this place is reached twice
  getcontext(&outside);
  if (!ran) {
    ran = true;
    if (choosing) {
      current = explorer.choose_thread(scenario->threads);
    }
    memory::set_thread(current);
    setcontext(&fibers[current].context);
  }
  if (failure.empty()) run_alone(scenario->check);
  active = false;
}

}  // namespace

Outcome explore(const Scenario& which, Bounds bounds, double seconds) {
  const double start = seconds_used();
  scenario = &which;
  uses.clear();
  Outcome outcome;
  do {  // until no object turns out to be shared that was not known to be
    uses_grew = false;
    for (auto& [address, use] : uses) use.shared = is_shared(use);
    explorer.begin(bounds);
    do {
      run_once();
      ++outcome.executions;
      if (explorer.diverged()) failure = "an execution could not be repeated";
      if (!failure.empty()) {
        outcome.failure = failure;
        outcome.choices = explorer.text();
        return outcome;
      }
      if (seconds_used() - start > seconds) return outcome;
    } while (explorer.advance());
  } while (uses_grew);
  outcome.complete = true;
  return outcome;
}

void trace_last() {
  tracing = true;
  run_once();
  tracing = false;
}

int thread_number() { return active ? current : 0; }

void fail(const std::string& text) {
  if (failure.empty()) failure = text;
  if (active) setcontext(&outside);
  throw std::runtime_error(text);
}

void choose_later() { choosing = false; }
void choose_from_now() { choosing = true; }

void wait_on(std::uintptr_t word, std::uint32_t expected) {
  if (!active) return;
  point(word, false);
  if (memory::peek(word, 4) != expected) return;
  fibers[current].state = State::kBlocked;
  fibers[current].blocked_on = word;
  run_others();
}

void wake(std::uintptr_t word, std::uint32_t count) {
  if (!active) return;
  point(word, false);
  for (; count > 0; --count) {
    int waiting[kMaxThreads];
    int found = 0;
    for (int i = 0; i < kMaxThreads; ++i) {
      if (fibers[i].state == State::kBlocked && fibers[i].blocked_on == word) waiting[found++] = i;
    }
    if (found == 0) return;
    fibers[waiting[choosing ? explorer.choose_thread(found) : 0]].state = State::kReady;
  }
}

void sleep() {
  if (!active) return;
  if (!choosing) return;
  fibers[current].state = State::kSleeping;
  run_others();
}

void yield() {
  if (!active) return;
  int found[kMaxThreads];
  if (runnable(found, false) != 0) run_others();
}

bool start_thread(void (*entry)()) {
  const int number = scenario->threads;
  if (number == kMaxThreads) fail("a scenario with a helper has one thread less");
  if (!active) return true;
  if (fibers[number].state != State::kIdle && fibers[number].state != State::kDone) return false;
  make_fiber(number, entry);
  memory::tell(number);
  return true;
}

void system_call() {
  if (active) preempt_or_not();
}

void purge_range(void* start, std::size_t bytes) {
  system_call();
  Race race;
  const auto address = reinterpret_cast<std::uintptr_t>(start);
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  if (!memory::purge(address, bytes, active, pc, race)) report(race);
}

void written_by_system(void* start, std::size_t bytes) {
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  plain_access(reinterpret_cast<std::uintptr_t>(start), bytes, true, pc);
}

void plain_access(std::uintptr_t address, std::size_t bytes, bool write, std::uintptr_t pc) {
  Race race;
  if (!memory::access(address, bytes, write, active, pc, race)) report(race);
}

std::uint64_t atomic_load(std::uintptr_t address, unsigned bytes, int order, std::uintptr_t pc) {
  if (!active) return memory::peek(address, bytes);
  order = order_at(pc, "load", order);
  Fiber& fiber = fibers[current];
  if (fiber.loaded_at == address && fiber.loading_pc == pc &&
      fiber.loaded == memory::peek(address, bytes)) {
    return fiber.loaded;  // the same as just before: a loop that waits, where nothing is decided
  }
  point(address, false);
  const std::uint64_t value = memory::load(address, bytes, order, explorer);
  fiber.loaded_at = address;
  fiber.loading_pc = pc;
  fiber.loaded = value;
  trace("load", address, value, order, pc);
  return value;
}

void atomic_store(std::uintptr_t address, unsigned bytes, std::uint64_t value, int order,
                  std::uintptr_t pc) {
  if (!active) {
    plain_access(address, bytes, true, pc);
    memory::set_bytes(address, bytes, value);
    return;
  }
  order = order_at(pc, "store", order);
  point(address, true);
  trace("store", address, value, order, pc);
  fibers[current].loading_pc = 0;
  memory::store(address, bytes, value, order);
}

std::uint64_t atomic_update(std::uintptr_t address, unsigned bytes, Update update,
                            std::uint64_t operand, int order, std::uintptr_t pc) {
  if (!active) {
    const std::uint64_t old_value = memory::peek(address, bytes);
    atomic_store(address, bytes, update(old_value, operand), order, pc);
    return old_value;
  }
  order = order_at(pc, "update", order);
  point(address, true);
  const std::uint64_t mask = bytes == 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << bytes * 8) - 1;
  const std::uint64_t old_value = memory::begin_update(address, bytes);
  const std::uint64_t new_value = update(old_value, operand) & mask;
  trace("update", address, new_value, order, pc);
  fibers[current].loading_pc = 0;
  memory::end_update(address, bytes, new_value, order);
  return old_value;
}

bool atomic_compare_exchange(std::uintptr_t address, unsigned bytes, std::uint64_t& expected,
                             std::uint64_t desired, int order, int failure_order,
                             std::uintptr_t pc) {
  if (active) {
    order = order_at(pc, "exchange", order);
    point(address, true);
    fibers[current].loading_pc = 0;
  }
  const std::uint64_t value =
      active ? memory::begin_update(address, bytes) : memory::peek(address, bytes);
  if (value != expected) {
    if (active) memory::end_failed_update(address, bytes, failure_order);
    trace("refused", address, value, failure_order, pc);
    expected = value;
    return false;
  }
  trace("exchange", address, desired, order, pc);
  if (active) {
    memory::end_update(address, bytes, desired, order);
  } else {
    atomic_store(address, bytes, desired, order, pc);
  }
  return true;
}

void atomic_fence(int order, std::uintptr_t pc) {
  if (!active) return;
  order = order_at(pc, "fence", order);
  if (order == kRelaxed) return;
  trace("fence", 0, 0, order, pc);
  memory::fence(order);
}

std::vector<Site> sites_seen() {
  std::vector<Site> all;
  for (const auto& [pc, site] : sites) all.push_back(site);
  return all;
}

void weaken(std::uintptr_t pc) { weakened.insert(pc); }

}  // namespace model
