// The simulated operating system; see fake_os.h. Compiled with exceptions, in tests only.
#include "os/fake/fake_os.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/bits.h"
#include "base/poison.h"
#include "os/fake/ledger.h"

namespace carrel::core {
namespace {

constexpr std::size_t kCallCount = static_cast<std::size_t>(OsCall::kCallCount);
constexpr const char* kCallNames[kCallCount] = {
    "reserve",    "commit",       "map",          "unmap",        "purge",    "populate",
    "move_pages", "fresh_pages",  "advise_huge",  "advise_small", "collapse", "fence",
    "unfence",    "watch_faults", "start_thread", "wait"};

struct State {
  Ledger ledger;
  std::vector<OsRange> ranges[kCallCount];
  std::uint64_t fallible_calls = 0;
  std::uint64_t failures = 0;
  std::uint64_t fail_from = 0;  // ordinal of a fallible call; 0: none
  bool fail_all_after = false;
  const char* variable = nullptr;
  const char* value = nullptr;
  std::string stderr_text;
  std::string violations;
  void (*pending_entry)() = nullptr;
  bool thread_alive = false;
  void (*explain)(const MemoryFault&) = nullptr;
};

std::mutex state_lock;  // guards state and real_thread
State state;
std::thread real_thread;
std::atomic<std::uint64_t> clock_ms{0};

using Guard = std::lock_guard<std::mutex>;

constexpr std::size_t kHugePageBytes = 2 * kMiB;

/// The contract: no call changes errno.
class ErrnoKeeper {
 public:
  ErrnoKeeper() : saved_(errno) {}
  ~ErrnoKeeper() { errno = saved_; }
  ErrnoKeeper(const ErrnoKeeper&) = delete;
  ErrnoKeeper& operator=(const ErrnoKeeper&) = delete;

 private:
  int saved_;
};

void record(OsCall call, const void* p, std::size_t bytes) {
  const auto before = FakeOs::settings.before_call;
  {
    Guard guard(state_lock);
    state.ranges[static_cast<std::size_t>(call)].push_back({address_of(p), bytes});
  }
  if (before != nullptr) before(call, const_cast<void*>(p), bytes);
}

// The rest up to the contract's functions is called with state_lock held.

void violation(OsCall call, const void* p, std::size_t bytes, const char* rule) {
  char line[256];
  snprintf(line, sizeof line, "%s(%p, %zu): %s\n", kCallNames[static_cast<std::size_t>(call)], p,
           bytes, rule);
  state.violations += line;
}

/// Counts a fallible call and decides whether it is to fail.
bool refused(bool by_settings = false) {
  const std::uint64_t ordinal = ++state.fallible_calls;
  const bool chosen = state.fail_from != 0 && (state.fail_all_after ? ordinal >= state.fail_from
                                                                    : ordinal == state.fail_from);
  if (chosen || by_settings) ++state.failures;
  return chosen || by_settings;
}

bool is_page_range(const void* p, std::size_t bytes) {
  const std::size_t page = FakeOs::settings.page_bytes;
  return bytes != 0 && bytes % page == 0 && address_of(p) % page == 0;
}

std::size_t fenced_bytes(const void* p, std::size_t bytes) {
  return state.ledger.bytes_in(address_of(p), bytes, PageState::kFenced);
}

/// Which states the range of a call may be in.
enum class Held { kUsable, kOrFenced, kAnyhow };

/// Notes what is wrong with a range that must be held.
bool check_range(OsCall call, const void* p, std::size_t bytes, Held how = Held::kUsable) {
  if (!is_page_range(p, bytes)) {
    violation(call, p, bytes, "expected whole pages");
    return false;
  }
  std::size_t held = state.ledger.bytes_in(address_of(p), bytes, PageState::kUsable);
  if (how != Held::kUsable) held += fenced_bytes(p, bytes);
  if (how == Held::kAnyhow) {
    held += state.ledger.bytes_in(address_of(p), bytes, PageState::kReserved);
  }
  if (held == bytes) return true;
  violation(call, p, bytes,
            how == Held::kAnyhow ? "expected memory that was reserved or mapped"
                                 : "expected memory that was committed or mapped");
  return false;
}

bool within(std::size_t used, std::size_t more, std::size_t limit) {
  return limit == SIZE_MAX || (used <= limit && more <= limit - used);
}

void* real_map(void* place, std::size_t bytes, int protection, int flags) {
  void* p =
      ::mmap(place, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

/// Maps anywhere, at a multiple of `align`.
void* real_map_aligned(std::size_t bytes, std::size_t align, int protection) {
  const std::size_t slack =
      align > FakeOs::settings.page_bytes ? align : FakeOs::settings.page_bytes;
  auto* start = static_cast<char*>(real_map(nullptr, bytes + slack, protection, 0));
  if (start == nullptr) return nullptr;
  char* aligned = at_address<char>(align_up(address_of(start), align));
  char* end = start + bytes + slack;
  if (aligned != start) ::munmap(start, static_cast<std::size_t>(aligned - start));
  if (end != aligned + bytes) {
    ::munmap(aligned + bytes, static_cast<std::size_t>(end - (aligned + bytes)));
  }
  return aligned;
}

/// Calls visit(address) for each page of the machine in a range that occupies memory.
template <class Visit>
void for_each_resident_page(std::uintptr_t start, std::size_t bytes, Visit visit) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> flags(bytes / page);
  if (::mincore(at_address<void>(start), bytes, flags.data()) != 0) return;
  for (std::size_t i = 0; i < flags.size(); ++i) {
    if ((flags[i] & 1) != 0) visit(start + i * page, page);
  }
}

/// Whether what was committed before in a range was never written to.
bool usable_part_is_zero(std::uintptr_t start, std::size_t bytes) {
  bool zero = true;
  for_each_resident_page(start, bytes, [&](std::uintptr_t at, std::size_t page) {
    if (state.ledger.bytes_in(at, page, PageState::kUsable) != page) return;
    const char* p = at_address<const char>(at);
    zero = zero && p[0] == 0 && memcmp(p, p + 1, page - 1) == 0;
  });
  return zero;
}

void join_real_thread() {
  std::thread thread;
  {
    Guard guard(state_lock);
    thread.swap(real_thread);
  }
  if (thread.joinable()) thread.join();
}

}  // namespace

std::size_t FakeOs::page_bytes() { return settings.page_bytes; }
std::uint32_t FakeOs::cpu_count() { return settings.cpu_count; }
std::size_t FakeOs::address_space_limit() { return settings.address_space_limit; }
std::uint64_t FakeOs::now_ms() { return clock_ms.load(); }

void* FakeOs::reserve(std::size_t bytes, std::size_t align) {
  ErrnoKeeper keeper;
  record(OsCall::kReserve, nullptr, bytes);
  Guard guard(state_lock);
  if (!is_power_of_two(align) || bytes == 0 || bytes % settings.page_bytes != 0) {
    violation(OsCall::kReserve, nullptr, bytes, "expected whole pages and a power of two");
  }
  const bool too_large = bytes > settings.max_reservation_bytes ||
                         !within(state.ledger.bytes(), bytes, settings.address_space_limit);
  if (refused(too_large)) return nullptr;
  const std::size_t least = align < settings.page_bytes ? settings.page_bytes : align;
  void* p = real_map_aligned(bytes, least, PROT_NONE);
  if (p != nullptr) state.ledger.set(address_of(p), bytes, PageState::kReserved);
  return p;
}

bool FakeOs::commit(void* p, std::size_t bytes) {
  ErrnoKeeper keeper;
  record(OsCall::kCommit, p, bytes);
  Guard guard(state_lock);
  if (!check_range(OsCall::kCommit, p, bytes, Held::kAnyhow)) return false;
  const std::size_t usable = state.ledger.bytes_in(address_of(p), bytes, PageState::kUsable);
  if (usable != 0 && !usable_part_is_zero(address_of(p), bytes)) {
    violation(OsCall::kCommit, p, bytes, "expected memory that is not in use");
  }
  const bool over_budget =
      !within(state.ledger.usable_bytes(), bytes - usable, settings.commit_budget_bytes);
  if (refused(over_budget || settings.refuse_commit)) return false;
  if (::mprotect(p, bytes, PROT_READ | PROT_WRITE) != 0) return false;
  unpoison(p, bytes);  // an earlier test's blocks may have lain there
  state.ledger.set(address_of(p), bytes, PageState::kUsable);
  return true;
}

void* FakeOs::map(void* hint, std::size_t bytes) {
  ErrnoKeeper keeper;
  record(OsCall::kMap, hint, bytes);
  Guard guard(state_lock);
  if (bytes == 0 || bytes % settings.page_bytes != 0 ||
      address_of(hint) % settings.page_bytes != 0) {
    violation(OsCall::kMap, hint, bytes, "expected whole pages");
  }
  const bool too_much = !within(state.ledger.bytes(), bytes, settings.address_space_limit) ||
                        !within(state.ledger.usable_bytes(), bytes, settings.commit_budget_bytes);
  if (refused(too_much)) return nullptr;
  void* p = nullptr;
  void* place = hint != nullptr && !settings.ignore_hints ? hint : settings.map_place;
  if (place != nullptr) {
    p = real_map(place, bytes, PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE);
    if (p != nullptr && p != place) {
      ::munmap(p, bytes);
      p = nullptr;
    }
  }
  if (p == nullptr) p = real_map_aligned(bytes, settings.page_bytes, PROT_READ | PROT_WRITE);
  if (p == nullptr) return nullptr;
  unpoison(p, bytes);
  state.ledger.set(address_of(p), bytes, PageState::kUsable);
  return p;
}

void FakeOs::unmap(void* p, std::size_t bytes) {
  ErrnoKeeper keeper;
  record(OsCall::kUnmap, p, bytes);
  Guard guard(state_lock);
  if (!check_range(OsCall::kUnmap, p, bytes, Held::kAnyhow)) return;
  ::munmap(p, bytes);
  state.ledger.erase(address_of(p), bytes);
}

bool FakeOs::purge(void* p, std::size_t bytes) {
  ErrnoKeeper keeper;
  record(OsCall::kPurge, p, bytes);
  if (settings.during_purge != nullptr) settings.during_purge();
  Guard guard(state_lock);
  if (!check_range(OsCall::kPurge, p, bytes)) return false;
  if (refused(settings.refuse_purge)) return false;
  return ::madvise(p, bytes, MADV_DONTNEED) == 0;
}

void FakeOs::populate(void* p, std::size_t bytes) {
  ErrnoKeeper keeper;
  record(OsCall::kPopulate, p, bytes);
  Guard guard(state_lock);
  if (!check_range(OsCall::kPopulate, p, bytes)) return;
  // Page by page: the contents stay, and each becomes resident.
  for (std::size_t at = 0; at < bytes; at += settings.page_bytes) {
    volatile char& byte = static_cast<volatile char*>(p)[at];
    byte = byte;
  }
}

bool FakeOs::move_pages(void* from, void* to, std::size_t bytes) {
  ErrnoKeeper keeper;
  record(OsCall::kMovePages, from, bytes);
  Guard guard(state_lock);
  if (!check_range(OsCall::kMovePages, from, bytes) ||
      !check_range(OsCall::kMovePages, to, bytes)) {
    return false;
  }
  const std::uintptr_t low = address_of(from) < address_of(to) ? address_of(from) : address_of(to);
  const std::uintptr_t high = address_of(from) + address_of(to) - low;
  if (high - low < bytes) {
    violation(OsCall::kMovePages, from, bytes, "expected ranges that do not overlap");
    return false;
  }
  if (refused(settings.refuse_move_pages)) return false;
  memcpy(to, from, bytes);
  ::madvise(from, bytes, MADV_DONTNEED);
  return true;
}

bool FakeOs::fresh_pages(void* p, std::size_t bytes) {
  ErrnoKeeper keeper;
  record(OsCall::kFreshPages, p, bytes);
  Guard guard(state_lock);
  if (!check_range(OsCall::kFreshPages, p, bytes)) return false;
  if (refused(settings.refuse_fresh_pages)) return false;
  return ::madvise(p, bytes, MADV_DONTNEED) == 0;
}

void FakeOs::advise_huge(void* p, std::size_t bytes, bool wanted) {
  const OsCall call = wanted ? OsCall::kAdviseHuge : OsCall::kAdviseSmall;
  record(call, p, bytes);
  Guard guard(state_lock);
  check_range(call, p, bytes, Held::kOrFenced);
}

bool FakeOs::collapse_dense(void* p, std::size_t bytes) {
  ErrnoKeeper keeper;
  record(OsCall::kCollapse, p, bytes);
  Guard guard(state_lock);
  if (!check_range(OsCall::kCollapse, p, bytes, Held::kOrFenced)) return false;
  if (address_of(p) % kHugePageBytes != 0 || bytes % kHugePageBytes != 0) {
    violation(OsCall::kCollapse, p, bytes, "expected whole huge pages");
    return false;
  }
  std::size_t resident = 0;
  for_each_resident_page(address_of(p), bytes,
                         [&](std::uintptr_t, std::size_t page) { resident += page; });
  const bool sparse = resident < bytes - bytes / 16;
  if (refused() || !settings.has_huge_pages || sparse || fenced_bytes(p, bytes) != 0) return false;
  // What a huge page brings into memory reads as zero.
  auto* bytes_of_range = static_cast<volatile char*>(p);
  for (std::size_t at = 0; at < bytes; at += 4096) bytes_of_range[at] = bytes_of_range[at];
  return true;
}

bool FakeOs::fence(void* p, std::size_t bytes) {
  ErrnoKeeper keeper;
  record(OsCall::kFence, p, bytes);
  Guard guard(state_lock);
  if (!check_range(OsCall::kFence, p, bytes, Held::kAnyhow)) return false;
  if (refused(settings.refuse_fences)) return false;
  if (::madvise(p, bytes, MADV_DONTNEED) != 0 || ::mprotect(p, bytes, PROT_NONE) != 0) return false;
  state.ledger.set(address_of(p), bytes, PageState::kFenced);
  return true;
}

bool FakeOs::unfence(void* p, std::size_t bytes) {
  ErrnoKeeper keeper;
  record(OsCall::kUnfence, p, bytes);
  Guard guard(state_lock);
  if (!check_range(OsCall::kUnfence, p, bytes, Held::kAnyhow)) return false;
  if (refused(false)) return false;
  if (::mprotect(p, bytes, PROT_READ | PROT_WRITE) != 0) return false;
  state.ledger.set(address_of(p), bytes, PageState::kUsable);
  return true;
}

bool FakeOs::watch_faults(void (*explain)(const MemoryFault&)) {
  ErrnoKeeper keeper;
  record(OsCall::kWatchFaults, nullptr, 0);
  Guard guard(state_lock);
  if (refused(settings.refuse_watch)) return false;
  state.explain = explain;
  return true;
}

bool FakeOs::fault(const MemoryFault& fault) {
  void (*explain)(const MemoryFault&) = nullptr;
  {
    Guard guard(state_lock);
    explain = state.explain;
  }
  if (explain != nullptr) explain(fault);
  return explain != nullptr;
}

const char* FakeOs::alone_flag() {
  static constexpr char kNeverAlone = 0;
  return &kNeverAlone;
}

std::uint64_t FakeOs::random_word() {
  static std::atomic<std::uint64_t> calls{1};
  return calls.fetch_add(1) * 0x9E3779B97F4A7C15;
}

void FakeOs::wait(std::atomic<std::uint32_t>& word, std::uint32_t expected,
                  std::uint32_t timeout_ms) {
  record(OsCall::kWait, &word, timeout_ms);
  if (timeout_ms == 0) {
    word.wait(expected, std::memory_order_relaxed);
  } else if (word.load() == expected) {
    advance_ms(timeout_ms);
  }
}

void FakeOs::wake(std::atomic<std::uint32_t>& word, std::uint32_t count) {
  if (count == 1) {
    word.notify_one();
  } else {
    word.notify_all();
  }
}

void FakeOs::yield() { std::this_thread::yield(); }

bool FakeOs::start_thread(void (*entry)()) {
  ErrnoKeeper keeper;
  record(OsCall::kStartThread, nullptr, 0);
  {
    Guard guard(state_lock);
    if (refused(settings.refuse_threads)) return false;
    if (!settings.real_threads) {
      if (state.thread_alive) {
        violation(OsCall::kStartThread, nullptr, 0, "expected no other helper thread");
      }
      state.thread_alive = true;
      state.pending_entry = entry;
      return true;
    }
  }
  join_real_thread();  // as a predecessor that has decided to end
  Guard guard(state_lock);
  real_thread = std::thread(entry);
  return true;
}

void FakeOs::forget_thread() {
  Guard guard(state_lock);
  state.thread_alive = false;
  state.pending_entry = nullptr;
}

std::size_t FakeOs::environment(const char* name, char* buffer, std::size_t capacity) {
  Guard guard(state_lock);
  if (state.variable == nullptr || strcmp(state.variable, name) != 0) return 0;
  const std::size_t size = strlen(state.value);
  if (size + 1 > capacity) return 0;
  memcpy(buffer, state.value, size + 1);
  return size;
}

void FakeOs::write_stderr(const char* text, std::size_t size) {
  Guard guard(state_lock);
  state.stderr_text.append(text, size);
}

void FakeOs::abort() { throw FakeOsAbort{}; }

void FakeOs::reset() {
  join_real_thread();
  Guard guard(state_lock);
  state.ledger.for_each([](std::uintptr_t start, std::uintptr_t end, PageState) {
    ::munmap(at_address<void>(start), end - start);
  });
  state = State{};
  settings = FakeOsSettings{};
  clock_ms.store(0);
}

void FakeOs::advance_ms(std::uint64_t ms) { clock_ms.fetch_add(ms); }

void FakeOs::fail_call(std::uint64_t nth, bool all_after) {
  Guard guard(state_lock);
  state.fail_from = nth == 0 ? 0 : state.fallible_calls + nth;
  state.fail_all_after = all_after;
}

void FakeOs::set_environment(const char* name, const char* value) {
  Guard guard(state_lock);
  state.variable = value == nullptr ? nullptr : name;
  state.value = value;
}

bool FakeOs::run_thread() {
  void (*entry)() = nullptr;
  {
    Guard guard(state_lock);
    entry = state.pending_entry;
    state.pending_entry = nullptr;
  }
  if (entry == nullptr) return false;
  entry();
  Guard guard(state_lock);
  state.thread_alive = false;
  return true;
}

std::uint64_t FakeOs::calls(OsCall call) {
  Guard guard(state_lock);
  return state.ranges[static_cast<std::size_t>(call)].size();
}

OsRange FakeOs::range_of(OsCall call, std::uint64_t index) {
  Guard guard(state_lock);
  return state.ranges[static_cast<std::size_t>(call)].at(index);
}

std::uint64_t FakeOs::fallible_calls() {
  Guard guard(state_lock);
  return state.fallible_calls;
}

std::uint64_t FakeOs::failures() {
  Guard guard(state_lock);
  return state.failures;
}

bool FakeOs::failing() {
  Guard guard(state_lock);
  return state.fail_from != 0 && (state.fail_all_after || state.fallible_calls < state.fail_from);
}

std::size_t FakeOs::address_space_bytes() {
  Guard guard(state_lock);
  return state.ledger.bytes();
}

std::size_t FakeOs::usable_bytes() {
  Guard guard(state_lock);
  return state.ledger.usable_bytes();
}

bool FakeOs::is_usable(const void* p, std::size_t bytes) {
  Guard guard(state_lock);
  return state.ledger.bytes_in(address_of(p), bytes, PageState::kUsable) == bytes;
}

std::size_t FakeOs::resident_bytes(const void* p, std::size_t bytes) {
  std::size_t resident = 0;
  for_each_resident_page(address_of(p), bytes,
                         [&](std::uintptr_t, std::size_t page) { resident += page; });
  return resident;
}

const char* FakeOs::stderr_text() { return state.stderr_text.c_str(); }
const char* FakeOs::violations() { return state.violations.c_str(); }

void FakeOs::clear_stderr() {
  Guard guard(state_lock);
  state.stderr_text.clear();
}

void FakeOs::clear_violations() {
  Guard guard(state_lock);
  state.violations.clear();
}

}  // namespace carrel::core
