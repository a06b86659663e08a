// Budgets of threads; what is promised is in include/carrel/carrel.h, how it is kept in
// heap/budgets.h.
#include <carrel/carrel.h>
#include <string.h>

#include "api/instance.h"

namespace core = carrel::core;
using core::process_heap;

namespace {
/// To programs a budget is its record's address.
core::Budget* record_of(const carrel_budget* budget) {
  return reinterpret_cast<core::Budget*>(const_cast<carrel_budget*>(budget));
}
}  // namespace

extern "C" {

carrel_result carrel_budget_begin(size_t bytes, carrel_budget** budget) {
  if (budget == nullptr) return CARREL_BAD_ARGUMENT;
  *budget = nullptr;
  if (bytes > PTRDIFF_MAX) return CARREL_OUT_OF_RANGE;
  bool possible = false;
  core::Budget* begun = process_heap.begin_budget(bytes, possible);
  if (begun == nullptr) return possible ? CARREL_NO_MEMORY : CARREL_UNAVAILABLE;
  *budget = reinterpret_cast<carrel_budget*>(begun);
  return CARREL_OK;
}

carrel_result carrel_budget_end(carrel_budget* budget) {
  return process_heap.end_budget(record_of(budget)) ? CARREL_OK : CARREL_BAD_ARGUMENT;
}

carrel_result carrel_budget_read(const carrel_budget* budget, carrel_budget_stats* stats,
                                 size_t size) {
  const core::BudgetAccount* account = process_heap.budgets();
  const core::Budget* record = record_of(budget);
  if (stats == nullptr || account == nullptr || !account->has(record)) return CARREL_BAD_ARGUMENT;
  // A budget within it has a peak of its own, until it ends.
  int64_t peak = record->peak;
  for (const core::Budget* each = account->innermost; each != record; each = each->outer) {
    if (each->peak > peak) peak = each->peak;
  }
  const int64_t room = record->ceiling - account->live_bytes;
  const carrel_budget_stats now = {
      .bound_bytes = record->bound,
      .used_bytes = account->live_bytes - record->start,
      .peak_bytes = static_cast<uint64_t>(peak - record->start),
      .room_bytes = room > 0 ? static_cast<uint64_t>(room) : 0,
      .refusals = record->refusals,
  };
  const size_t known = size < sizeof now ? size : sizeof now;
  memcpy(stats, &now, known);
  if (size > known) memset(reinterpret_cast<char*>(stats) + known, 0, size - known);
  return CARREL_OK;
}

}  // extern "C"
