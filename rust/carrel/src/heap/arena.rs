//! Arenas: sets of blocks that are given back at once.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_void;
use core::ptr::{self, NonNull};

use super::PLAIN_ALIGN;

/// A set of blocks that is given back at once, in a time that depends on the memory they are in and
/// not on their number. A reference to it is an `Allocator` (core's with the feature `nightly`,
/// allocator-api2's with that one), so that the borrow checker sees to it that nothing outlives it.
///
/// Its blocks are not cached by threads: each request takes the arena's lock. It may be used from
/// several threads. Dropping it gives everything back; collections in it that need no destructors
/// may be forgotten or leaked before, which saves freeing their blocks one by one.
///
/// ```
/// # #[cfg(feature = "allocator-api2")] {
/// use allocator_api2::vec::Vec;
///
/// let arena = carrel::Arena::new().unwrap();
/// let mut numbers = Vec::new_in(&arena);
/// numbers.extend(0..1000u32);
/// assert_eq!(arena.stats().live_blocks, 1);
/// # }
/// ```
///
/// Not there on targets that carrel does not support.
#[derive(Debug)]
pub struct Arena {
    handle: NonNull<carrel_sys::carrel_arena>,
}

// SAFETY: the arena is locked by each of carrel's functions, and its handle belongs to no thread.
unsafe impl Send for Arena {}
// SAFETY: see above.
unsafe impl Sync for Arena {}

/// An arena in numbers, exact at one moment; sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ArenaStats {
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

impl Arena {
    /// A new arena without a limit; `None` when memory is exhausted or 65,536 arenas exist.
    pub fn new() -> Option<Self> {
        // SAFETY: may be called at any time.
        NonNull::new(unsafe { carrel_sys::carrel_arena_create() }).map(|handle| Arena { handle })
    }

    /// Gives every block of the arena back. The borrow checker knows that none is in use.
    pub fn reset(&mut self) {
        // SAFETY: the arena is alive, and nobody borrows it.
        unsafe { carrel_sys::carrel_arena_reset(self.handle.as_ptr()) };
    }

    /// The most bytes of address space that the arena may take, in slabs of 64 KiB and more and in
    /// large blocks; `usize::MAX` is no limit. Requests beyond it fail as if memory were exhausted.
    /// What is beyond a new limit stays until it is freed.
    pub fn set_limit(&self, bytes: usize) {
        // SAFETY: the arena is alive.
        unsafe { carrel_sys::carrel_arena_set_limit(self.handle.as_ptr(), bytes) };
    }

    /// The arena in numbers, now.
    pub fn stats(&self) -> ArenaStats {
        let mut all = carrel_sys::carrel_arena_stats::default();
        // SAFETY: the arena is alive, the structure of the size that is said.
        unsafe {
            let size = core::mem::size_of_val(&all);
            carrel_sys::carrel_arena_stats_read(self.handle.as_ptr(), &mut all, size);
        }
        ArenaStats {
            live_bytes: all.live_bytes,
            live_blocks: all.live_blocks,
            active_bytes: all.active_bytes,
            peak_bytes: all.peak_bytes,
            limit_bytes: all.limit_bytes,
            allocations: all.allocations,
        }
    }

    /// Whether a live block of carrel's is from this arena.
    ///
    /// # Safety
    /// `block` is null or a live block of carrel's.
    pub unsafe fn owns(&self, block: *const u8) -> bool {
        // SAFETY: the caller's promise is the same.
        unsafe { ptr::eq(carrel_sys::carrel_arena_of(block.cast()), self.handle.as_ptr()) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the arena is alive until here, and nobody borrows it.
        unsafe { carrel_sys::carrel_arena_destroy(self.handle.as_ptr()) };
    }
}

/// The arena as the source of blocks behind its `Allocator`.
struct Source<'a>(&'a Arena);

// SAFETY: the arena's blocks are disjoint, as large as asked for and aligned as asked for.
unsafe impl GlobalAlloc for Source<'_> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let arena = self.0.handle.as_ptr();
        // SAFETY: the arena is alive; any size and any power of two may be asked for.
        let block: *mut c_void = unsafe {
            if layout.align() <= PLAIN_ALIGN {
                carrel_sys::carrel_arena_alloc(arena, layout.size())
            } else {
                carrel_sys::carrel_arena_aligned_alloc(arena, layout.align(), layout.size())
            }
        };
        block.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: a live block of the arena's, which carrel's free takes as any other.
        unsafe { carrel_sys::carrel_free(block.cast()) };
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for alloc; what is written lies within the block.
        unsafe {
            if layout.align() <= PLAIN_ALIGN {
                return carrel_sys::carrel_arena_calloc(self.0.handle.as_ptr(), 1, layout.size())
                    .cast();
            }
            let block = self.alloc(layout);
            if !block.is_null() {
                ptr::write_bytes(block, 0, layout.size());
            }
            block
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let arena = self.0.handle.as_ptr();
        // SAFETY: a live block of the arena's and its layout; the copy stays within both blocks.
        unsafe {
            if layout.align() <= PLAIN_ALIGN {
                return carrel_sys::carrel_arena_realloc(arena, block.cast(), new_size).cast();
            }
            let target = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !target.is_null() {
                ptr::copy_nonoverlapping(block, target, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            target
        }
    }
}

fn source<'a>(arena: &&'a Arena) -> Source<'a> {
    Source(arena)
}

#[cfg(feature = "allocator-api2")]
implement!(allocator_api2::alloc, &Arena, source);
#[cfg(feature = "nightly")]
implement!(core::alloc, &Arena, source);
