// What a program calls that reports its allocations itself, as the Rust crate carrel-hook does
// around a global allocator. C linkage, any thread. Reports nothing and costs one relaxed load of
// carrel_hook_state when the program is not recorded.
#pragma once

#include <stddef.h>
#include <stdint.h>

extern "C" {

// 0: not recorded, nothing need be reported; 1: recorded, or not yet known. Only ever falls.
extern uint8_t carrel_hook_state;

// Once, before the first report: attaches to the recorder if there is one. `name` is that of the
// allocator, not terminated; `from_malloc` is 1 when it hands on to the process's malloc.
void carrel_hook_start(const char* name, size_t length, int from_malloc);

// A block of `size` bytes at a multiple of `alignment` (a power of two) came to be; null: refused.
void carrel_hook_allocated(const void* block, size_t size, size_t alignment, int zeroed);
// Before a block is given back.
void carrel_hook_freeing(const void* block);
// Before a block is resized, and after: the place where it then lies, null if that was refused.
void carrel_hook_resizing(const void* block, size_t size);
void carrel_hook_resized(const void* block, size_t size);
}
