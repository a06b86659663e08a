// How an allocator is named that is part of the program it serves: it can be neither preloaded into
// another one nor exchanged, and its path is the program's. Traces and documents carry the name.
#pragma once

#include <string_view>

namespace carrel::tools {

inline constexpr std::string_view kLinkedIn = " (linked in)";

inline bool is_linked_in(std::string_view allocator_name) {
  return allocator_name.ends_with(kLinkedIn);
}

}  // namespace carrel::tools
