//! Arenas of `carrel/carrel.h`: types and functions under their C names. A test reads this file and
//! compares it with the header.
#![allow(non_camel_case_types)]

use core::ffi::{c_int, c_uint, c_void};

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
    /// See [`carrel_arena_options`]; `u64::MAX` without one.
    pub soft_limit_bytes: u64,
    /// That it holds beside the active ones, with options of its own.
    pub free_bytes: u64,
    /// Of what it held free, given back so far.
    pub purged_bytes: u64,
    /// After which they are; `u32::MAX`: the option `decay_ms`.
    pub decay_ms: u64,
}

/// Makes a range readable, writable memory; 0 to refuse.
pub type carrel_commit_pages =
    Option<unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> c_int>;
/// Gives the pages of a part of it back; 0 if that cannot be.
pub type carrel_purge_pages =
    Option<unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> c_int>;
/// Carrel is about to replace a range by memory of its own.
pub type carrel_release_pages = Option<unsafe extern "C" fn(*mut c_void, *mut c_void, usize)>;

/// Pages of the program's own for an arena.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct carrel_page_hooks {
    /// Handed to each of the functions.
    pub context: *mut c_void,
    /// Backs a range by mapping over it; must not allocate.
    pub commit: carrel_commit_pages,
    /// May be null: nothing is purged.
    pub purge: carrel_purge_pages,
    /// May be null.
    pub release: carrel_release_pages,
    /// 1: what was committed reads as zero.
    pub zeroed: u64,
}

/// Where an arena has its memory from.
pub type carrel_pages = c_uint;
/// What the heap has: ordinary memory.
pub const CARREL_PAGES_OF_HEAP: carrel_pages = 0;
/// The same in pieces of 2 MiB, advised for huge pages.
pub const CARREL_PAGES_ADVISED_HUGE: carrel_pages = 1;
/// The system's reserved huge pages of 2 MiB.
pub const CARREL_PAGES_RESERVED_HUGE: carrel_pages = 2;
/// A file: shared memory, hugetlbfs, persistent memory.
pub const CARREL_PAGES_OF_FILE: carrel_pages = 3;
/// The program's own functions.
pub const CARREL_PAGES_OF_HOOKS: carrel_pages = 4;

/// What an arena has of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct carrel_arena_options {
    /// As by [`carrel_arena_set_limit`]; 0: none.
    pub limit_bytes: u64,
    /// Beyond it, what is freed is purged at once; 0: none.
    pub soft_limit_bytes: u64,
    /// 1: `decay_ms` counts; 0: the option `decay_ms`.
    pub own_decay: u64,
    /// After which free memory is purged, 0 to 20,000.
    pub decay_ms: u64,
    /// Bit I: pages come from node I and such only; 0: from anywhere.
    pub numa_nodes: u64,
    /// Where memory is from.
    pub pages: carrel_pages,
    /// `CARREL_PAGES_OF_FILE`: opened for reading and writing.
    pub fd: c_int,
    /// Of the first byte; a multiple of the page size.
    pub file_offset: u64,
    /// How much of the file; a multiple of 64 KiB and of the file's huge pages.
    pub file_bytes: u64,
    /// `CARREL_PAGES_OF_HOOKS`: read now, and copied.
    pub hooks: *const carrel_page_hooks,
}

/// Is shown a live block: the context, the block, its usable size. 0 ends the walk.
pub type carrel_visit = Option<unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> c_int>;

extern "C" {
    /// A new arena without a limit; null and `ENOMEM` when memory is exhausted or 65,536 exist.
    pub fn carrel_arena_create() -> *mut carrel_arena;
    /// A new arena with options, in `*arena`; pass the size of [`carrel_arena_options`].
    pub fn carrel_arena_create_with(
        options: *const carrel_arena_options,
        size: usize,
        arena: *mut *mut carrel_arena,
    ) -> carrel_result;
    /// Where the file of an arena is mapped, and its length; null for arenas without one.
    pub fn carrel_arena_region(arena: *const carrel_arena, size: *mut usize) -> *mut c_void;
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
