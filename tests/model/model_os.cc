// The simulated system; see model_os.h.
#include "model_os.h"

#include <string>

namespace carrel::core {
namespace {

std::uintptr_t next_free = model::kArenaStart;
std::uint64_t clock_ms = 0;
std::uint64_t random_calls = 0;
int choosing_wait = 0;
int timed_waits = 0;
int starts = 0;
std::string said;

}  // namespace

std::uint64_t ModelOs::now_ms() { return clock_ms; }

void* ModelOs::reserve(std::size_t bytes, std::size_t align) {
  const std::uintptr_t start = (next_free + align - 1) & ~(align - 1);
  if (!model::in_arena(start + bytes)) return nullptr;
  next_free = start + bytes;
  return reinterpret_cast<void*>(start);
}

bool ModelOs::purge(void* p, std::size_t bytes) {
  model::purge_range(p, bytes);
  return true;
}

std::uint64_t ModelOs::random_word() { return ++random_calls * 0x9E3779B97F4A7C15; }

void ModelOs::wait(std::atomic<std::uint32_t>& word, std::uint32_t expected,
                   std::uint32_t timeout_ms) {
  if (timeout_ms == 0) {
    model::wait_on(reinterpret_cast<std::uintptr_t>(&word), expected);
    return;
  }
  if (++timed_waits == choosing_wait) model::choose_from_now();
  model::sleep();
  clock_ms += timeout_ms;
}

void ModelOs::wake(std::atomic<std::uint32_t>& word, std::uint32_t count) {
  model::wake(reinterpret_cast<std::uintptr_t>(&word), count);
}

bool ModelOs::start_thread(void (*entry)()) {
  ++starts;
  return model::start_thread(entry);
}

void ModelOs::write_stderr(const char* text, std::size_t size) { said.assign(text, size); }
void ModelOs::abort() { throw ModelAbort(said); }

void ModelOs::reset(std::size_t kept_bytes) {
  next_free = model::kArenaStart + kept_bytes;
  clock_ms = 1000;
  random_calls = 0;
  choosing_wait = timed_waits = starts = 0;
  said.clear();
}

void ModelOs::advance_ms(std::uint64_t ms) { clock_ms += ms; }
void ModelOs::choose_from_wait(int count) { choosing_wait = count; }
int ModelOs::threads_started() { return starts; }

}  // namespace carrel::core
