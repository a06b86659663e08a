// Sample hooks: functions of the program that hear of sampled allocations and frees. What is
// promised is in include/carrel/carrel.h; who is told of what, in profile/sample_hooks.h.
#include <carrel/carrel.h>

#include "api/instance.h"
#include "api/profile.h"
#include "heap/profiler.h"

namespace core = carrel::core;
using core::process_heap;

namespace {
core::SampleHooks::Function untyped(carrel_sample_hook hook) {
  return reinterpret_cast<core::SampleHooks::Function>(hook);
}
}  // namespace

extern "C" {

carrel_result carrel_sample_hook_add(carrel_sample_hook hook, void* context, size_t interval,
                                     int frees) {
  if constexpr (!core::ProcessHeap::kCanSample) return CARREL_UNAVAILABLE;
  if (hook == nullptr) return CARREL_BAD_ARGUMENT;
  if (interval > size_t{1} << 40) return CARREL_OUT_OF_RANGE;
  auto* profiler = core::make_profiler();
  if (profiler == nullptr) return CARREL_NO_MEMORY;
  if (interval == 0) {
    interval = size_t{process_heap.options_now().profile_interval_kib} * core::kKiB;
  }
  core::LockGuard guard(profiler->table());
  core::SampleHooks& hooks = profiler->hooks_locked();
  if (hooks.find(untyped(hook), context) != core::SampleHooks::kMost) return CARREL_BAD_ARGUMENT;
  if (!hooks.add(untyped(hook), context, interval, frees != 0)) return CARREL_TOO_MANY;
  profiler->update_rate_locked();
  process_heap.set_profiling(true);
  return CARREL_OK;
}

carrel_result carrel_sample_hook_remove(carrel_sample_hook hook, void* context) {
  if constexpr (!core::ProcessHeap::kCanSample) return CARREL_UNAVAILABLE;
  auto* profiler = core::the_profiler.load(std::memory_order_acquire);
  if (profiler == nullptr || hook == nullptr) return CARREL_BAD_ARGUMENT;
  unsigned place = 0;
  {
    core::LockGuard guard(profiler->table());
    place = profiler->hooks_locked().find(untyped(hook), context);
    if (place == core::SampleHooks::kMost) return CARREL_BAD_ARGUMENT;
    profiler->remove_hook_locked(place);
    process_heap.set_profiling(profiler->wanted_locked());
  }
  profiler->wait_for_hook(place);
  return CARREL_OK;
}

}  // extern "C"
