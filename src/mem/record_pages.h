// Mappings for carrel's own records; in a hardened build between pages that cannot be touched.
#pragma once

#include "base/bits.h"
#include "config/hardening.h"
#include "os/os.h"

namespace carrel::core {

/// Fresh zeroed memory of whole pages, or null. Never given back.
template <OsLayer Os>
void* map_record_pages(std::size_t bytes) {
  if constexpr (hardening_of<Os>().guard_metadata) {
    const std::size_t page = Os::page_bytes();
    auto* outer = static_cast<char*>(Os::reserve(bytes + 2 * page, page));
    if (outer != nullptr && Os::commit(outer + page, bytes)) return outer + page;
    if (outer != nullptr) Os::unmap(outer, bytes + 2 * page);
  }
  return Os::map(nullptr, bytes);
}

/// Address space for records that is committed bit by bit, or null.
template <OsLayer Os>
void* reserve_record_pages(std::size_t bytes) {
  const std::size_t page = Os::page_bytes();
  if constexpr (hardening_of<Os>().guard_metadata) {
    auto* outer = static_cast<char*>(Os::reserve(bytes + 2 * page, page));
    return outer == nullptr ? nullptr : outer + page;
  }
  return Os::reserve(bytes, page);
}

/// Undoes reserve_record_pages.
template <OsLayer Os>
void unreserve_record_pages(void* pages, std::size_t bytes) {
  constexpr bool kGuarded = hardening_of<Os>().guard_metadata;
  const std::size_t page = kGuarded ? Os::page_bytes() : 0;
  Os::unmap(static_cast<char*>(pages) - page, bytes + 2 * page);
}

}  // namespace carrel::core
