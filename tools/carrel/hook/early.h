// A small static arena for the calls that arrive while the hook looks up the functions behind it:
// dlsym itself may allocate. Nothing of it is recorded or given back.
#pragma once

#include <stddef.h>

namespace carrel::tools::hook {

void* early_allocate(size_t size, size_t alignment);  // zeroed; null when the arena is spent
bool is_early(const void* block);
size_t early_size(const void* block);

}  // namespace carrel::tools::hook
