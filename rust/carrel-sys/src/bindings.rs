//! The functions of `carrel/carrel.h`, and one of this crate's own. A test reads this file and
//! compares it with the header.

use core::ffi::{c_char, c_int, c_void};

extern "C" {
    /// At least `size` bytes, aligned to 16; unspecified contents. Zero bytes are a unique block.
    pub fn carrel_malloc(size: usize) -> *mut c_void;
    /// `count * size` bytes, all zero, aligned to 16.
    pub fn carrel_calloc(count: usize, size: usize) -> *mut c_void;
    /// At least `size` bytes aligned to `alignment`, a power of two (otherwise null and `EINVAL`).
    pub fn carrel_aligned_alloc(alignment: usize, size: usize) -> *mut c_void;
    /// Gives a block back; null is ignored. Keeps errno.
    pub fn carrel_free(block: *mut c_void);
    /// As [`carrel_free`], for a block of [`carrel_malloc`], [`carrel_calloc`] or
    /// [`carrel_realloc`], with a size from what was asked for up to the usable size.
    pub fn carrel_free_sized(block: *mut c_void, size: usize);
    /// As [`carrel_free_sized`], for a block of [`carrel_aligned_alloc`].
    pub fn carrel_free_sized_aligned(block: *mut c_void, size: usize, alignment: usize);
    /// Resizes a block; the result is aligned to 16. Zero `size` frees and returns null.
    pub fn carrel_realloc(block: *mut c_void, size: usize) -> *mut c_void;
    /// Resizes a block that was allocated with `alignment`; the result keeps it.
    pub fn carrel_realloc_sized_aligned(
        block: *mut c_void,
        old_size: usize,
        new_size: usize,
        alignment: usize,
    ) -> *mut c_void;
    /// The bytes that may be used in `block`, at least what was asked for; 0 for null.
    pub fn carrel_usable_size(block: *const c_void) -> usize;
    /// The bytes that an allocation of `size` would really get.
    pub fn carrel_good_size(size: usize) -> usize;
    /// Gives free memory back to the system, now; returns the bytes.
    pub fn carrel_purge() -> usize;
    /// The version of the library that is running. Static storage, ends with a zero byte.
    pub fn carrel_version() -> *const c_char;
    /// Sets one option while the program runs: 1, or 0 with `EINVAL`.
    pub fn carrel_set_option(key: *const c_char, value: *const c_char) -> c_int;
}

/// Whether [`carrel_sys_owns`] can tell: not with an installed library.
pub const KNOWS_OWNERS: bool = cfg!(not(carrel_installed));

#[cfg(not(carrel_installed))]
extern "C" {
    /// 1 if `block` is the address of a block of this copy of carrel, else 0. Any address will do,
    /// null and other allocators' included: nothing behind it is read. 1 also for any address in a
    /// slab of small blocks and in the first 64 KiB of a large block; 0 further inside one. Always
    /// 0 with an installed library, which has no such function; [`KNOWS_OWNERS`] is false then.
    pub fn carrel_sys_owns(block: *const c_void) -> c_int;
}

/// 0: an installed library cannot tell.
///
/// # Safety
/// Does nothing; unsafe only as its other form is.
#[cfg(carrel_installed)]
pub unsafe fn carrel_sys_owns(_block: *const c_void) -> c_int {
    0
}
