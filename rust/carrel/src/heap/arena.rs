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
    /// Beyond this, what is freed is purged at once; `u64::MAX` without such a limit.
    pub soft_limit_bytes: u64,
    /// What it holds free beside the active bytes, with options of its own.
    pub free_bytes: u64,
    /// Of what it held free, given back so far.
    pub purged_bytes: u64,
    /// After how many milliseconds that is; `u32::MAX`: the option `decay_ms`.
    pub decay_ms: u64,
}

/// Where an arena has its memory from. Files and functions of the program's own: `carrel-sys`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArenaPages {
    /// What the heap has: ordinary memory.
    #[default]
    OfHeap,
    /// The same in pieces of 2 MiB, advised for huge pages.
    AdvisedHuge,
    /// The system's reserved huge pages of 2 MiB (`vm.nr_hugepages`).
    ReservedHuge,
}

/// What an arena has of its own; the default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArenaOptions {
    /// The most bytes of address space that it may take; 0: no limit.
    pub limit_bytes: u64,
    /// Bytes beyond which what is freed goes back to the system at once; 0: no limit.
    pub soft_limit_bytes: u64,
    /// Milliseconds after which free memory goes back, up to 20,000; `None`: as in the heap.
    pub decay_ms: Option<u32>,
    /// Bit I: pages come from NUMA node I and such only; 0: from anywhere.
    pub numa_nodes: u64,
    /// What memory it has.
    pub pages: ArenaPages,
}

/// Why there is no such arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArenaError {
    /// Memory is exhausted, or 65,536 arenas exist.
    NoMemory,
    /// A number that cannot be.
    OutOfRange,
    /// The system refuses such pages: no reserved huge pages are left, there is no such node.
    Unavailable,
}

impl core::fmt::Display for ArenaError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            ArenaError::NoMemory => "memory is exhausted",
            ArenaError::OutOfRange => "an arena's option is out of range",
            ArenaError::Unavailable => "the system has no such pages for an arena",
        })
    }
}

impl core::error::Error for ArenaError {}

impl Arena {
    /// A new arena without a limit; `None` when memory is exhausted or 65,536 arenas exist.
    pub fn new() -> Option<Self> {
        // SAFETY: may be called at any time.
        NonNull::new(unsafe { carrel_sys::carrel_arena_create() }).map(|handle| Arena { handle })
    }

    /// A new arena with limits, a decay or pages of its own; see [`ArenaOptions`].
    ///
    /// # Errors
    /// Memory is exhausted, a number is out of range, or the system refuses such pages.
    ///
    /// ```
    /// use carrel::{Arena, ArenaOptions, ArenaPages};
    ///
    /// let mut options = ArenaOptions::default();
    /// options.limit_bytes = 8 << 20;
    /// options.decay_ms = Some(0);
    /// options.pages = ArenaPages::AdvisedHuge;
    /// let arena = Arena::with_options(&options).unwrap();
    /// assert_eq!(arena.stats().limit_bytes, 8 << 20);
    /// ```
    pub fn with_options(options: &ArenaOptions) -> Result<Self, ArenaError> {
        let raw = carrel_sys::carrel_arena_options {
            limit_bytes: options.limit_bytes,
            soft_limit_bytes: options.soft_limit_bytes,
            own_decay: u64::from(options.decay_ms.is_some()),
            decay_ms: u64::from(options.decay_ms.unwrap_or(0)),
            numa_nodes: options.numa_nodes,
            pages: match options.pages {
                ArenaPages::OfHeap => carrel_sys::CARREL_PAGES_OF_HEAP,
                ArenaPages::AdvisedHuge => carrel_sys::CARREL_PAGES_ADVISED_HUGE,
                ArenaPages::ReservedHuge => carrel_sys::CARREL_PAGES_RESERVED_HUGE,
            },
            fd: -1,
            file_offset: 0,
            file_bytes: 0,
            hooks: ptr::null(),
        };
        let mut arena = ptr::null_mut();
        // SAFETY: the structure of the size that is said, without pointers.
        let result = unsafe {
            let size = core::mem::size_of_val(&raw);
            carrel_sys::carrel_arena_create_with(&raw, size, &mut arena)
        };
        match (NonNull::new(arena), result) {
            (Some(handle), _) => Ok(Arena { handle }),
            (None, carrel_sys::CARREL_OUT_OF_RANGE) => Err(ArenaError::OutOfRange),
            (None, carrel_sys::CARREL_UNAVAILABLE) => Err(ArenaError::Unavailable),
            (None, _) => Err(ArenaError::NoMemory),
        }
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
            soft_limit_bytes: all.soft_limit_bytes,
            free_bytes: all.free_bytes,
            purged_bytes: all.purged_bytes,
            decay_ms: all.decay_ms,
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
