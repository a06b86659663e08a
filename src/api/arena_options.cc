// Arenas with options; what is promised is in include/carrel/carrel.h. How a pool of an arena's own
// works is in mem/lending.h; here is where its pages come from.
#include <errno.h>

#include "api/arena.h"

namespace carrel::core {
namespace {

constexpr std::size_t kPieceBytes = 2 * kMiB;

ArenaPages& pages_of(void* context) { return *static_cast<ArenaPages*>(context); }

/// All kinds but hooks: pages of the kind that is wanted, from the nodes that are.
bool commit_pages(void* context, void* start, std::size_t bytes) {
  ArenaPages& pages = pages_of(context);
  pages.error = 0;
  if (pages.kind == CARREL_PAGES_OF_FILE) {
    pages.error = ProcessOs::map_file(start, bytes, pages.file, pages.file_offset);
    pages.region = start;
  } else if (pages.kind == CARREL_PAGES_RESERVED_HUGE) {
    pages.error = ProcessOs::map_huge(start, bytes);
  } else if (!ProcessOs::fresh_pages(start, bytes)) {
    pages.error = -ENOMEM;
  } else if (pages.kind == CARREL_PAGES_ADVISED_HUGE) {
    ProcessOs::advise_huge(start, bytes, true);
  }
  if (pages.error == 0 && pages.nodes != 0) {
    pages.error = ProcessOs::bind_to_nodes(start, bytes, pages.nodes);
  }
  return pages.error == 0;
}

bool purge_memory(void*, void* start, std::size_t bytes) { return ProcessOs::purge(start, bytes); }
bool purge_file(void* context, void* start, std::size_t bytes) {
  // A part of a huge page cannot be cut out.
  if ((address_of(start) | bytes) % pages_of(context).file_page_bytes != 0) return false;
  return ProcessOs::purge_file(start, bytes);
}

// free, which may lead to hooks, keeps errno.
struct ErrnoKeeper {
  ~ErrnoKeeper() { errno = saved; }
  const int saved = errno;
};

bool purge_by_hook(void* context, void* start, std::size_t bytes) {
  const ErrnoKeeper keeper;
  const carrel_page_hooks& hooks = pages_of(context).hooks;
  return hooks.purge(hooks.context, start, bytes) != 0;
}
void release_by_hook(void* context, void* start, std::size_t bytes) {
  const ErrnoKeeper keeper;
  const carrel_page_hooks& hooks = pages_of(context).hooks;
  if (hooks.release != nullptr) hooks.release(hooks.context, start, bytes);
}
bool commit_by_hook(void* context, void* start, std::size_t bytes) {
  const ErrnoKeeper keeper;
  ArenaPages& pages = pages_of(context);
  pages.error = 0;
  if (pages.hooks.commit(pages.hooks.context, start, bytes) == 0) return false;
  if (pages.nodes != 0) pages.error = ProcessOs::bind_to_nodes(start, bytes, pages.nodes);
  if (pages.error != 0) release_by_hook(context, start, bytes);
  return pages.error == 0;
}

Backing backing_for(const carrel_arena_options& options, ArenaPages* pages) {
  Backing backing = {.context = pages,
                     .commit = commit_pages,
                     .purge = purge_memory,
                     .release = nullptr,
                     .unit = kPieceBytes >> kGranuleShift,
                     .reads_as_zero = true,
                     .only_once = false,
                     .on_any_thread = true};
  switch (options.pages) {
    case CARREL_PAGES_OF_HEAP:
      if (options.numa_nodes == 0) return {};
      break;
    case CARREL_PAGES_ADVISED_HUGE:
      break;
    case CARREL_PAGES_RESERVED_HUGE:
      backing.purge = nullptr;
      break;
    case CARREL_PAGES_OF_FILE:
      backing.purge = purge_file;
      backing.reads_as_zero = false;
      backing.only_once = true;
      if (pages->file_bytes % kPieceBytes != 0) backing.unit = 1;
      break;
    case CARREL_PAGES_OF_HOOKS:
      backing.commit = commit_by_hook;
      backing.purge = pages->hooks.purge == nullptr ? nullptr : purge_by_hook;
      backing.release = release_by_hook;
      backing.reads_as_zero = pages->hooks.zeroed == 1;
      backing.on_any_thread = false;  // the helper thread has no errno
      break;
  }
  return backing;
}

carrel_result check_file(const carrel_arena_options& options, std::uint64_t& page_bytes) {
  std::uint64_t length = 0;
  if (!ProcessOs::look_at_file(options.fd, length, page_bytes)) return CARREL_BAD_ARGUMENT;
  if (options.file_bytes == 0 || options.file_bytes % kGranuleBytes != 0 ||
      options.file_offset % ProcessOs::page_bytes() != 0 ||
      options.file_bytes >> kGranuleShift > process_heap.map().window_granules()) {
    return CARREL_OUT_OF_RANGE;
  }
  // Only huge pages of 2 MiB are aligned for.
  if (page_bytes >= kPieceBytes && (page_bytes != kPieceBytes || options.file_bytes % page_bytes)) {
    return CARREL_OUT_OF_RANGE;
  }
  return length < options.file_offset || length - options.file_offset < options.file_bytes
             ? CARREL_BAD_ARGUMENT
             : CARREL_OK;
}

carrel_result check_options(const carrel_arena_options& options, std::uint64_t& page_bytes) {
  if (options.own_decay > 1 || options.decay_ms > 20'000 || options.pages > CARREL_PAGES_OF_HOOKS) {
    return CARREL_OUT_OF_RANGE;
  }
  if (options.pages == CARREL_PAGES_OF_FILE) return check_file(options, page_bytes);
  if (options.pages != CARREL_PAGES_OF_HOOKS) return CARREL_OK;
  if (options.hooks == nullptr || options.hooks->commit == nullptr) return CARREL_BAD_ARGUMENT;
  return options.hooks->zeroed > 1 ? CARREL_OUT_OF_RANGE : CARREL_OK;
}

carrel_result create_arena(const carrel_arena_options& options, carrel_arena*& result) {
  ProcessArenas* all = make_arenas();  // first: the window's size is known then
  if (all == nullptr) return CARREL_NO_MEMORY;
  std::uint64_t file_page_bytes = 1;
  const carrel_result checked = check_options(options, file_page_bytes);
  if (checked != CARREL_OK) return checked;
  MetadataArena<ProcessHeap::Os>& metadata = process_heap.metadata();
  auto* pages = static_cast<ArenaPages*>(metadata.allocate(sizeof(ArenaPages)));
  if (pages == nullptr) return CARREL_NO_MEMORY;
  pages->kind = options.pages;
  pages->nodes = options.numa_nodes;
  pages->file = options.fd;
  pages->file_offset = options.file_offset;
  pages->file_bytes = options.file_bytes;
  pages->file_page_bytes = file_page_bytes;
  if (options.pages == CARREL_PAGES_OF_HOOKS) pages->hooks = *options.hooks;
  const auto limit_of = [](std::uint64_t bytes) { return bytes == 0 ? SIZE_MAX : bytes; };
  ArenaWishes wishes = {.limit_bytes = limit_of(options.limit_bytes),
                        .soft_limit_bytes = limit_of(options.soft_limit_bytes),
                        .own_decay = options.own_decay == 1,
                        .decay_ms = static_cast<std::uint32_t>(options.decay_ms),
                        .backing = backing_for(options, pages),
                        .first_granules = 0};
  const bool backed = wishes.backing.commit != nullptr;
  if (backed) {
    wishes.first_granules = options.pages == CARREL_PAGES_OF_FILE ? granules_for(options.file_bytes)
                                                                  : wishes.backing.unit;
  }
  ProcessArena* arena = all->create_with(wishes);
  const long error = pages->error;
  if (arena == nullptr || !backed) metadata.release(pages, sizeof(ArenaPages));
  result = to_handle(arena);
  if (arena != nullptr) return CARREL_OK;
  if (error != 0) {
    errno = static_cast<int>(-error);
  } else if (options.pages != CARREL_PAGES_OF_HOOKS) {
    errno = ENOMEM;
  }
  // Without an error number it was the hook, or the heap had no room.
  return error != 0 || options.pages == CARREL_PAGES_OF_HOOKS ? CARREL_UNAVAILABLE
                                                              : CARREL_NO_MEMORY;
}

}  // namespace
}  // namespace carrel::core

namespace core = carrel::core;

extern "C" {

carrel_result carrel_arena_create_with(const carrel_arena_options* options, size_t size,
                                       carrel_arena** arena) {
  if (arena == nullptr) return CARREL_BAD_ARGUMENT;
  *arena = nullptr;
  // What callers compiled with an older header do not know is 0 then, which wishes for nothing;
  // what they know and this library does not must be 0.
  constexpr std::size_t kFirstBytes = 72;
  static_assert(sizeof(carrel_arena_options) >= kFirstBytes);
  if (options == nullptr || size < kFirstBytes) return CARREL_BAD_ARGUMENT;
  carrel_arena_options known = {};
  memcpy(&known, options, size < sizeof known ? size : sizeof known);
  for (std::size_t i = sizeof known; i < size; ++i) {
    if (reinterpret_cast<const char*>(options)[i] != 0) return CARREL_UNAVAILABLE;
  }
  return core::create_arena(known, *arena);
}

void* carrel_arena_region(const carrel_arena* arena, size_t* size) {
  if (arena == nullptr) return nullptr;
  const auto* pages = static_cast<const core::ArenaPages*>(
      reinterpret_cast<const core::ProcessArena*>(arena)->backing_context());
  if (pages == nullptr || pages->kind != CARREL_PAGES_OF_FILE) return nullptr;
  if (size != nullptr) *size = pages->file_bytes;
  return pages->region;
}

}  // extern "C"
