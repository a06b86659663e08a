//! Arenas of `carrel/carrel.h`: types and functions under their C names. A test reads this file and
//! compares it with the header.
#![allow(non_camel_case_types)]

use core::ffi::{c_int, c_void};

use crate::carrel_result;

/// A set of blocks that can be given back at once; only ever behind a pointer.
#[repr(C)]
pub struct carrel_arena {
    _private: [u8; 0],
}

/// An arena in numbers, exact at one moment. Sizes are in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct carrel_arena_stats {
    /// In the program's hands, rounded up to slots and pages.
    pub live_bytes: u64,
    /// The blocks they are in.
    pub live_blocks: u64,
    /// Address space of the arena's slabs and large blocks.
    pub active_bytes: u64,
    /// The most that this has been.
    pub peak_bytes: u64,
    /// The most that it may be; `u64::MAX` without a limit.
    pub limit_bytes: u64,
    /// Blocks handed out so far.
    pub allocations: u64,
}

/// Is shown a live block: the context, the block, its usable size. 0 ends the walk.
pub type carrel_visit = Option<unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> c_int>;

extern "C" {
    /// A new arena without a limit; null and `ENOMEM` when memory is exhausted or 65,536 exist.
    pub fn carrel_arena_create() -> *mut carrel_arena;
    /// Gives every block of the arena back, and the arena: neither may be used afterwards.
    pub fn carrel_arena_destroy(arena: *mut carrel_arena) -> carrel_result;
    /// Gives every block of the arena back; the arena stays, with its limit.
    pub fn carrel_arena_reset(arena: *mut carrel_arena) -> carrel_result;
    /// As `carrel_malloc`; null and `ENOMEM` also when the arena's limit would be exceeded.
    pub fn carrel_arena_alloc(arena: *mut carrel_arena, size: usize) -> *mut c_void;
    /// As `carrel_calloc`.
    pub fn carrel_arena_calloc(arena: *mut carrel_arena, count: usize, size: usize) -> *mut c_void;
    /// As `carrel_aligned_alloc`.
    pub fn carrel_arena_aligned_alloc(
        arena: *mut carrel_arena,
        alignment: usize,
        size: usize,
    ) -> *mut c_void;
    /// As `carrel_realloc`: a block stays where it is from; null allocates from `arena`.
    pub fn carrel_arena_realloc(
        arena: *mut carrel_arena,
        block: *mut c_void,
        size: usize,
    ) -> *mut c_void;
    /// The arena that a live block is from; null for blocks that are from none, and for null.
    pub fn carrel_arena_of(block: *const c_void) -> *mut carrel_arena;
    /// The arena's number in the names of controls.
    pub fn carrel_arena_number(arena: *const carrel_arena) -> u32;
    /// The most bytes of address space that the arena may take.
    pub fn carrel_arena_set_limit(arena: *mut carrel_arena, bytes: usize) -> carrel_result;
    /// Fills the first `size` bytes of `stats`; pass the size of [`carrel_arena_stats`].
    pub fn carrel_arena_stats_read(
        arena: *mut carrel_arena,
        stats: *mut carrel_arena_stats,
        size: usize,
    ) -> carrel_result;
    /// Calls `visit` for every live block, until it returns 0. The arena is locked meanwhile.
    pub fn carrel_arena_walk(
        arena: *mut carrel_arena,
        visit: carrel_visit,
        context: *mut c_void,
    ) -> carrel_result;
    /// The live block of the arena that `address` points to or into, with its usable size.
    pub fn carrel_arena_find(
        arena: *mut carrel_arena,
        address: *const c_void,
        size: *mut usize,
    ) -> *mut c_void;
}
