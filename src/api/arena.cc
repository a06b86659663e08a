// Arenas in C; what is promised is in include/carrel/carrel.h. Everything that arenas need is
// instantiated here and reached from the heap through hooks: programs without arenas link none.
#include <carrel/carrel.h>
#include <errno.h>
#include <string.h>

#include "api/arena.h"
#include "api/requests.h"
#include "api/shortage.h"
#include "api/statistics.h"

namespace carrel::core {
namespace {

/// Made by the first carrel_arena_create, and there for good.
std::atomic<ProcessArenas*> all_arenas{nullptr};

ProcessArenas& arenas() { return *all_arenas.load(std::memory_order_acquire); }

/// Null for a number of no arena, or of a destroyed one.
ProcessArena* numbered(std::size_t number, ArenaTotals& totals) {
  ProcessArena* arena = arenas().by_id(number);
  return arena != nullptr && arena->totals(totals) ? arena : nullptr;
}

void fill(carrel_arena_stats& stats, const ArenaTotals& totals) {
  stats = {.live_bytes = totals.live_bytes,
           .live_blocks = totals.live_blocks,
           .active_bytes = totals.span_bytes,
           .peak_bytes = totals.peak_bytes,
           .limit_bytes = totals.limit_bytes,
           .allocations = totals.allocations,
           .soft_limit_bytes = totals.soft_limit_bytes,
           .free_bytes = totals.free_bytes,
           .purged_bytes = totals.purged_bytes,
           .decay_ms = totals.decay_ms};
}

/// What `attempt` returns; once more after making room, unless the arena itself is why it is null,
/// and for as long as a handler says so.
template <class Attempt>
void* with_room(ProcessArena& arena, std::size_t size, std::size_t alignment, Attempt attempt) {
  const std::size_t least = size > alignment ? size : alignment;
  for (std::uint32_t count = 1;; ++count) {
    void* block = attempt();
    if (CARREL_LIKELY(block != nullptr) || least > kMaxRequestBytes) return block;
    if (!arena.refuses(size, alignment)) {
      process_heap.make_room();
      block = attempt();
      if (block != nullptr) return block;
    }
    const FailedRequest request = {
        .size = size, .alignment = alignment, .arena = to_handle(&arena)};
    if (!should_try_again(request, count)) return nullptr;
  }
}

constexpr ArenaHooks kHooks = {
    .free = [](void* block) { arenas().free(block); },
    .usable_size = [](const void* block) { return arenas().usable_size(block); },
    .reallocate =
        [](void* block, std::size_t size, std::size_t alignment) {
          ProcessArena* arena = arenas().arena_of(block);
          if (arena == nullptr) Report<ProcessOs>::invalid_free(block);
          return with_room(*arena, size, alignment,
                           [&] { return arenas().reallocate(block, size, alignment); });
        },
    .release_empty = [] { arenas().release_empty(); },
    .before_fork = [] { arenas().before_fork(); },
    .after_fork = [](bool in_child) { arenas().after_fork(in_child); },
};

constexpr ArenaReports kReports = {
    .totals = [](ArenaTotals& sum) { return arenas().totals(sum); },
    .numbers = [] { return arenas().numbers(); },
    .stats =
        [](std::size_t number, carrel_arena_stats& stats) {
          ArenaTotals totals;
          if (numbered(number, totals) == nullptr) return false;
          fill(stats, totals);
          return true;
        },
    .set_limit =
        [](std::size_t number, std::uint64_t bytes) {
          ProcessArena* arena = arenas().by_id(number);
          return arena != nullptr && arena->set_limit(bytes);
        },
    .reset =
        [](std::size_t number) {
          ArenaTotals totals;
          ProcessArena* arena = numbered(number, totals);
          if (arena != nullptr) arenas().reset(*arena);
          return arena != nullptr;
        },
    .handler =
        [](carrel_arena* arena, carrel_shortage_handler& handler, void*& context) {
          handler = reinterpret_cast<carrel_shortage_handler>(from_handle(arena)->handler(context));
          return handler != nullptr;
        },
    .refuses = [](carrel_arena* arena, std::size_t size,
                  std::size_t alignment) { return from_handle(arena)->refuses(size, alignment); },
    .set = &all_arenas,
};

constexpr OtherMemory kOwnPools = {
    .purge =
        [](bool everything, bool on_helper) {
          return arenas().purge_own(everything, on_helper, process_heap.options().decay_ms);
        },
    .resting = [] { return arenas().resting(); },
};

}  // namespace

ProcessArenas* make_arenas() {
  if (process_heap.arena_hooks() != nullptr) return &arenas();
  if (!process_heap.initialize()) return nullptr;
  void* memory = process_heap.metadata().allocate(sizeof(ProcessArenas));
  if (memory == nullptr) return nullptr;
  auto* mine = ::new (memory) ProcessArenas(process_heap.context(), process_heap.purger());
  // Under the lock that fork takes first: the hooks called before and after it are the same.
  LockGuard guard(process_heap.registry());
  if (process_heap.arena_hooks() != nullptr) {  // another thread was quicker
    process_heap.metadata().release(memory, sizeof(ProcessArenas));
    return &arenas();
  }
  all_arenas.store(mine, std::memory_order_release);
  arena_reports.store(&kReports, std::memory_order_release);
  process_heap.set_arena_hooks(&kHooks);
  process_heap.purger().set_other(&kOwnPools);
  return mine;
}

namespace {

void* refuse() {
  errno = EINVAL;
  return nullptr;
}

void* allocate(carrel_arena* arena, std::size_t size, std::size_t alignment, bool zero) {
  if (arena == nullptr) return refuse();
  void* block = with_room(*from_handle(arena), size, alignment,
                          [&] { return from_handle(arena)->allocate(size, alignment, zero); });
  return CARREL_LIKELY(block != nullptr) ? block : out_of_memory();
}

}  // namespace
}  // namespace carrel::core

namespace core = carrel::core;

extern "C" {

carrel_arena* carrel_arena_create() {
  core::ProcessArenas* all = core::make_arenas();
  core::ProcessArena* arena = all == nullptr ? nullptr : all->create();
  if (arena == nullptr) core::out_of_memory();
  return core::to_handle(arena);
}

carrel_result carrel_arena_destroy(carrel_arena* arena) {
  if (arena == nullptr) return CARREL_OK;
  void* pages = core::from_handle(arena)->backing_context();
  if (!core::arenas().destroy(*core::from_handle(arena))) return CARREL_BAD_ARGUMENT;
  if (pages != nullptr) core::process_heap.metadata().release(pages, sizeof(core::ArenaPages));
  return CARREL_OK;
}

carrel_result carrel_arena_reset(carrel_arena* arena) {
  core::ArenaTotals totals;
  if (arena == nullptr || !core::from_handle(arena)->totals(totals)) return CARREL_BAD_ARGUMENT;
  core::arenas().reset(*core::from_handle(arena));
  return CARREL_OK;
}

void* carrel_arena_alloc(carrel_arena* arena, size_t size) {
  return core::allocate(arena, size, core::kSlotAlignment, false);
}

void* carrel_arena_calloc(carrel_arena* arena, size_t count, size_t size) {
  if (arena == nullptr) return core::refuse();
  size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) return core::out_of_memory();
  return core::allocate(arena, bytes, core::kSlotAlignment, true);
}

void* carrel_arena_aligned_alloc(carrel_arena* arena, size_t alignment, size_t size) {
  if (!core::is_power_of_two(alignment)) return core::refuse();
  return core::allocate(arena, size, alignment, false);
}

void* carrel_arena_realloc(carrel_arena* arena, void* block, size_t size) {
  if (block == nullptr) return carrel_arena_alloc(arena, size);
  return carrel_realloc(block, size);
}

carrel_arena* carrel_arena_of(const void* block) {
  core::ProcessArenas* all = core::all_arenas.load(std::memory_order_acquire);
  return core::to_handle(all == nullptr || block == nullptr ? nullptr : all->arena_of(block));
}

uint32_t carrel_arena_number(const carrel_arena* arena) {
  if (arena == nullptr) return UINT32_MAX;
  return reinterpret_cast<const core::ProcessArena*>(arena)->id();
}

carrel_result carrel_arena_set_limit(carrel_arena* arena, size_t bytes) {
  if (arena == nullptr) return CARREL_BAD_ARGUMENT;
  return core::from_handle(arena)->set_limit(bytes) ? CARREL_OK : CARREL_BAD_ARGUMENT;
}

carrel_result carrel_arena_set_shortage_handler(carrel_arena* arena,
                                                carrel_shortage_handler handler, void* context) {
  if (arena == nullptr) return CARREL_BAD_ARGUMENT;
  const auto function = reinterpret_cast<core::ProcessArena::Handler>(handler);
  return core::from_handle(arena)->set_handler(function, context) ? CARREL_OK : CARREL_BAD_ARGUMENT;
}

carrel_result carrel_arena_stats_read(carrel_arena* arena, carrel_arena_stats* stats, size_t size) {
  if (arena == nullptr || stats == nullptr) return CARREL_BAD_ARGUMENT;
  core::ArenaTotals totals;
  if (!core::from_handle(arena)->totals(totals)) return CARREL_BAD_ARGUMENT;
  carrel_arena_stats now;
  core::fill(now, totals);
  memcpy(stats, &now, size < sizeof now ? size : sizeof now);
  if (size > sizeof now) memset(reinterpret_cast<char*>(stats) + sizeof now, 0, size - sizeof now);
  return CARREL_OK;
}

carrel_result carrel_arena_walk(carrel_arena* arena,
                                int (*visit)(void* context, void* block, size_t size),
                                void* context) {
  if (arena == nullptr || visit == nullptr) return CARREL_BAD_ARGUMENT;
  core::from_handle(arena)->walk(
      [&](void* block, std::size_t size) { return visit(context, block, size) != 0; });
  return CARREL_OK;
}

void* carrel_arena_find(carrel_arena* arena, const void* address, size_t* size) {
  if (arena == nullptr) return nullptr;
  std::size_t bytes = 0;
  void* block = core::from_handle(arena)->find(address, bytes);
  if (block != nullptr && size != nullptr) *size = bytes;
  return block;
}

}  // extern "C"
