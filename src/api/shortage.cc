// Shortages: the process's handler and how it is called; see shortage.h.
#include "api/shortage.h"

#include <errno.h>

#include "api/instance.h"
#include "api/statistics.h"

namespace carrel::core {

constinit ShortageTotals shortage_totals;

namespace {

/// Under the registry's lock, which fork takes: the pair is whole in a child too.
carrel_shortage_handler process_handler = nullptr;
void* process_context = nullptr;

const ArenaReports* reports() { return arena_reports.load(std::memory_order_acquire); }

carrel_shortage_cause cause_of(const FailedRequest& request) {
  if (request.arena != nullptr &&
      reports()->refuses(request.arena, request.size, request.alignment)) {
    return CARREL_BEYOND_ARENA_LIMIT;
  }
  if (request.arena == nullptr && process_heap.budgets_refuse(request.size, request.alignment)) {
    return CARREL_BEYOND_BUDGET;
  }
  return process_heap.pool().limit_refuses(request.size) ? CARREL_BEYOND_PROCESS_LIMIT
                                                         : CARREL_SHORT_OF_MEMORY;
}

bool asked_says_yes(const FailedRequest& request, std::uint32_t attempt) {
  if (ProcessTls::handling_shortage_) return false;
  carrel_shortage_handler handler = nullptr;
  void* context = nullptr;
  if (request.arena == nullptr || !reports()->handler(request.arena, handler, context)) {
    LockGuard guard(process_heap.registry());
    handler = process_handler;
    context = process_context;
  }
  if (handler == nullptr) return false;
  const carrel_shortage shortage = {.size = request.size,
                                    .alignment = request.alignment,
                                    .arena = request.arena,
                                    .cause = cause_of(request),
                                    .attempt = attempt};
  const int saved_errno = errno;
  ProcessTls::handling_shortage_ = true;
  const bool yes = handler(context, &shortage) != 0;
  ProcessTls::handling_shortage_ = false;
  errno = saved_errno;
  return yes;
}

}  // namespace

bool should_try_again(const FailedRequest& request, std::uint32_t attempt) {
  const bool yes = asked_says_yes(request, attempt);
  (yes ? shortage_totals.retries : shortage_totals.refusals)
      .fetch_add(1, std::memory_order_relaxed);
  return yes;
}

bool ProcessTls::try_again(std::size_t size, std::size_t alignment, std::uint32_t attempt) {
  return should_try_again({.size = size, .alignment = alignment, .arena = nullptr}, attempt);
}

}  // namespace carrel::core

namespace core = carrel::core;

extern "C" carrel_result carrel_set_shortage_handler(carrel_shortage_handler handler,
                                                     void* context) {
  core::LockGuard guard(core::process_heap.registry());
  core::process_handler = handler;
  core::process_context = context;
  return CARREL_OK;
}
