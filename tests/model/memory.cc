// Stores, views and races; see memory.h.
#include "memory.h"

#include <sys/mman.h>

#include <unordered_map>
#include <vector>

// The linker leads plain calls of memset to entry_points.cc, which notes them as accesses.
extern "C" void* __real_memset(void* to, int value, std::size_t bytes);

namespace model::memory {
namespace {

/// A number for each step that may order something; never repeats, so that what was noted in an
/// earlier execution is known to be old.
using Clock = std::uint64_t;

/// What a thread knows: up to where it has heard of each thread, and for each atomic object the
/// oldest store that it may still see.
struct View {
  Clock clock[kMaxThreads] = {};
  std::vector<std::uint32_t> oldest;

  std::uint32_t oldest_of(std::size_t object) const {
    return object < oldest.size() ? oldest[object] : 0;
  }
  void raise(std::size_t object, std::uint32_t index) {
    if (object >= oldest.size()) oldest.resize(object + 1, 0);
    if (oldest[object] < index) oldest[object] = index;
  }
  void join(const View& other) {
    for (int i = 0; i < kMaxThreads; ++i) {
      if (clock[i] < other.clock[i]) clock[i] = other.clock[i];
    }
    if (oldest.size() < other.oldest.size()) oldest.resize(other.oldest.size(), 0);
    for (std::size_t i = 0; i < other.oldest.size(); ++i) {
      if (oldest[i] < other.oldest[i]) oldest[i] = other.oldest[i];
    }
  }
  void clear() {
    for (Clock& each : clock) each = 0;
    oldest.clear();
  }
};

struct Store {
  std::uint64_t value = 0;
  bool has_message = false;
  View message;  // what an acquiring reader learns
};

struct Object {
  unsigned bytes = 0;
  std::uint32_t first = 0;  // number of the first store in `stores`
  std::uint32_t newest_seq_cst = 0;
  std::vector<Store> stores;

  std::uint32_t newest() const { return first + static_cast<std::uint32_t>(stores.size()) - 1; }
};

struct Thread {
  View view;
  View released;  // at the last release fence
  bool has_released = false;
  View heard;  // by relaxed loads: for the next acquire fence
};

/// Eight bytes' accesses: the newest of each kind, as many as fit.
struct Cell {
  static constexpr int kNotes = 8;
  std::uint64_t note[kNotes];  // clock << 16 | mask << 8 | thread << 2 | atomic << 1 | write
  std::uint32_t pc[kNotes];
};

constexpr std::size_t kPage = 4096;

Clock now = 1;
Clock start_of_execution = 1;
int current = 0;
Thread threads[kMaxThreads];
std::unordered_map<std::uintptr_t, std::size_t> object_numbers;
std::vector<Object> objects;
std::size_t object_count = 0;
Cell* cells = nullptr;
std::vector<bool> dirty(kArenaBytes / kPage);
std::vector<std::size_t> dirty_pages;

void mark_dirty(std::uintptr_t address, std::size_t bytes) {
  const std::size_t last = (address + bytes - 1 - kArenaStart) / kPage;
  for (std::size_t page = (address - kArenaStart) / kPage; page <= last; ++page) {
    if (dirty[page]) continue;
    dirty[page] = true;
    dirty_pages.push_back(page);
  }
}

bool conflict(std::uint64_t a, std::uint64_t b) {
  const bool both_atomic = (a & b & 2) != 0;
  return ((a | b) & 1) != 0 && !both_atomic;
}

/// Notes an access in one cell; false if it races with a note.
bool note_in(Cell& cell, std::uint64_t kind, std::uint64_t mask, std::uintptr_t pc,
             std::uintptr_t address, Race& race) {
  int place = -1;
  int oldest = 0;
  for (int i = 0; i < Cell::kNotes; ++i) {
    const std::uint64_t note = cell.note[i];
    if (note < cell.note[oldest]) oldest = i;
    if (note >> 16 <= start_of_execution) {
      place = i;
      continue;
    }
    const int thread = static_cast<int>(note >> 2 & 0x3F);
    if (thread == current) {
      if ((note & 3) == kind && (note >> 8 & 0xFF & ~mask) == 0) place = i;
      continue;
    }
    if ((note >> 8 & mask) != 0 && conflict(note, kind) &&
        note >> 16 > threads[current].view.clock[thread]) {
      race = {.address = address,
              .first_pc = cell.pc[i],
              .second_pc = pc,
              .first_thread = thread,
              .second_thread = current};
      return false;
    }
  }
  if (place < 0) place = oldest;
  cell.note[place] = threads[current].view.clock[current] << 16 | mask << 8 |
                     static_cast<std::uint64_t>(current) << 2 | kind;
  cell.pc[place] = static_cast<std::uint32_t>(pc);
  return true;
}

bool note(std::uintptr_t address, std::size_t bytes, std::uint64_t kind, std::uintptr_t pc,
          Race& race) {
  std::size_t cell = (address - kArenaStart) / 8;
  unsigned begin = address % 8;
  while (bytes != 0) {
    const std::size_t part = bytes < 8 - begin ? bytes : 8 - begin;
    const std::uint64_t mask = ((std::uint64_t{1} << part) - 1) << begin;
    if (!note_in(cells[cell], kind, mask, pc, address, race)) return false;
    bytes -= part;
    ++cell;
    begin = 0;
  }
  return true;
}

/// The object at an address; made anew where ordinary stores have overwritten it.
std::size_t object_at(std::uintptr_t address, unsigned bytes) {
  const auto [found, is_new] = object_numbers.try_emplace(address, object_count);
  if (is_new) {
    if (objects.size() <= object_count) objects.emplace_back();
    Object& object = objects[object_count++];
    object.bytes = 0;
    object.first = object.newest_seq_cst = 0;
    object.stores.clear();
  }
  Object& object = objects[found->second];
  const std::uint64_t value = peek(address, bytes);
  if (object.stores.empty() || object.bytes != bytes || object.stores.back().value != value) {
    object.first += static_cast<std::uint32_t>(object.stores.size());
    object.bytes = bytes;
    object.stores.clear();
    object.stores.push_back({value, false, {}});
  }
  return found->second;
}

void poke(std::uintptr_t address, unsigned bytes, std::uint64_t value) {
  if (in_arena(address)) mark_dirty(address, bytes);
  set_bytes(address, bytes, value);
}

void receive(const Store& store, int order) {
  if (!store.has_message) return;
  Thread& thread = threads[current];
  (acquires(order) ? thread.view : thread.heard).join(store.message);
}

void append(std::uintptr_t address, std::size_t number, std::uint64_t value, int order,
            bool continues) {
  Object& object = objects[number];
  Thread& thread = threads[current];
  const std::uint32_t index = object.newest() + 1;
  thread.view.raise(number, index);
  Store store;
  store.value = value;
  if (continues && object.stores.back().has_message) {  // a release sequence goes on
    store.has_message = true;
    store.message = object.stores.back().message;
  }
  if (releases(order)) {
    store.has_message = true;
    store.message.join(thread.view);
  } else if (thread.has_released) {
    store.has_message = true;
    store.message.join(thread.released);
  }
  if (store.has_message) store.message.raise(number, index);
  if (order == kSeqCst) object.newest_seq_cst = index;
  object.stores.push_back(static_cast<Store&&>(store));
  poke(address, object.bytes, value);
  thread.view.clock[current] = ++now;
}

}  // namespace

bool initialize() {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* place = reinterpret_cast<void*>(kArenaStart);
  void* arena =
      mmap(place, kArenaBytes, PROT_READ | PROT_WRITE, kFlags | MAP_FIXED_NOREPLACE, -1, 0);
  void* notes =
      mmap(nullptr, kArenaBytes / 8 * sizeof(Cell), PROT_READ | PROT_WRITE, kFlags, -1, 0);
  if (arena != place || notes == MAP_FAILED) return false;
  cells = static_cast<Cell*>(notes);
  return true;
}

void reset() {
  for (std::size_t page : dirty_pages) {
    __real_memset(reinterpret_cast<void*>(kArenaStart + page * kPage), 0, kPage);
    dirty[page] = false;
  }
  dirty_pages.clear();
  object_numbers.clear();
  object_count = 0;
  start_of_execution = ++now;
  for (Thread& thread : threads) {
    thread.view.clear();
    thread.released.clear();
    thread.heard.clear();
    thread.has_released = false;
  }
  for (int i = 0; i < kMaxThreads; ++i) threads[i].view.clock[i] = ++now;
}

void set_thread(int thread) { current = thread; }

void tell(int thread) {
  threads[thread].view.join(threads[current].view);
  threads[current].view.clock[current] = ++now;
}

std::uint64_t peek(std::uintptr_t address, unsigned bytes) {
  switch (bytes) {
    case 1:
      return *reinterpret_cast<const std::uint8_t*>(address);
    case 2:
      return *reinterpret_cast<const std::uint16_t*>(address);
    case 4:
      return *reinterpret_cast<const std::uint32_t*>(address);
    default:
      return *reinterpret_cast<const std::uint64_t*>(address);
  }
}

void set_bytes(std::uintptr_t address, unsigned bytes, std::uint64_t value) {
  switch (bytes) {
    case 1:
      *reinterpret_cast<std::uint8_t*>(address) = static_cast<std::uint8_t>(value);
      return;
    case 2:
      *reinterpret_cast<std::uint16_t*>(address) = static_cast<std::uint16_t>(value);
      return;
    case 4:
      *reinterpret_cast<std::uint32_t*>(address) = static_cast<std::uint32_t>(value);
      return;
    default:
      *reinterpret_cast<std::uint64_t*>(address) = value;
  }
}

bool access(std::uintptr_t address, std::size_t bytes, bool write, bool watched, std::uintptr_t pc,
            Race& race) {
  if (!in_arena(address) || bytes == 0) return true;
  if (write) mark_dirty(address, bytes);
  return !watched || note(address, bytes, write ? 1 : 0, pc, race);
}

bool purge(std::uintptr_t address, std::size_t bytes, bool watched, std::uintptr_t pc, Race& race) {
  for (std::size_t at = 0; at < bytes; at += kPage) {
    if (!dirty[(address + at - kArenaStart) / kPage]) continue;  // nobody was here
    __real_memset(reinterpret_cast<void*>(address + at), 0, kPage);
    if (watched && !note(address + at, kPage, 1, pc, race)) return false;
  }
  return true;
}

std::uint64_t load(std::uintptr_t address, unsigned bytes, int order, Explorer& explorer) {
  const std::size_t number = object_at(address, bytes);
  Object& object = objects[number];
  Thread& thread = threads[current];
  std::uint32_t oldest = thread.view.oldest_of(number);
  if (order == kSeqCst && oldest < object.newest_seq_cst) oldest = object.newest_seq_cst;
  if (oldest < object.first) oldest = object.first;
  const std::uint32_t newest = object.newest();
  const int back = explorer.choose_store(static_cast<int>(newest - oldest + 1));
  const std::uint32_t seen = newest - static_cast<std::uint32_t>(back);
  thread.view.raise(number, seen);
  const Store& store = object.stores[seen - object.first];
  receive(store, order);
  return store.value;
}

void store(std::uintptr_t address, unsigned bytes, std::uint64_t value, int order) {
  append(address, object_at(address, bytes), value, order, false);
}

std::uint64_t begin_update(std::uintptr_t address, unsigned bytes) {
  return objects[object_at(address, bytes)].stores.back().value;
}

void end_update(std::uintptr_t address, unsigned bytes, std::uint64_t value, int order) {
  const std::size_t number = object_at(address, bytes);
  receive(objects[number].stores.back(), order);
  append(address, number, value, order, true);
}

void end_failed_update(std::uintptr_t address, unsigned bytes, int order) {
  const std::size_t number = object_at(address, bytes);
  threads[current].view.raise(number, objects[number].newest());
  receive(objects[number].stores.back(), order);
}

void fence(int order) {
  Thread& thread = threads[current];
  if (acquires(order)) thread.view.join(thread.heard);
  if (order == kSeqCst) {
    for (std::size_t i = 0; i < object_count; ++i) {
      Object& object = objects[i];
      thread.view.raise(i, object.newest_seq_cst);
      object.newest_seq_cst = thread.view.oldest_of(i);
    }
  }
  if (releases(order)) {
    thread.released = thread.view;
    thread.has_released = true;
    thread.view.clock[current] = ++now;
  }
}

}  // namespace model::memory
