//! `Allocator` for `Carrel`: core's under the feature `nightly`, allocator-api2's under its own.
//! The two traits have the same methods; one macro writes both, over any source of blocks. Arenas
//! use it too (heap/arena.rs).

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use crate::Carrel;

/// A block for `layout`; for size 0 an aligned address that is never given back.
pub(crate) fn take(
    source: &impl GlobalAlloc,
    layout: Layout,
    zeroed: bool,
) -> Option<NonNull<[u8]>> {
    let block = if layout.size() == 0 {
        ptr::without_provenance_mut(layout.align())
    } else {
        // SAFETY: the size is not zero.
        unsafe {
            if zeroed {
                source.alloc_zeroed(layout)
            } else {
                source.alloc(layout)
            }
        }
    };
    Some(NonNull::slice_from_raw_parts(NonNull::new(block)?, layout.size()))
}

/// # Safety
/// As for `Allocator::deallocate`.
pub(crate) unsafe fn give(source: &impl GlobalAlloc, block: NonNull<u8>, layout: Layout) {
    if layout.size() != 0 {
        // SAFETY: a block that take() or resize() got from the source with this layout.
        unsafe { source.dealloc(block.as_ptr(), layout) };
    }
}

/// Grows or shrinks in place where the alignment stays, else by copying.
///
/// # Safety
/// As for `Allocator::grow` and `Allocator::shrink`.
pub(crate) unsafe fn resize(
    source: &impl GlobalAlloc,
    block: NonNull<u8>,
    old: Layout,
    new: Layout,
) -> Option<NonNull<[u8]>> {
    if old.size() != 0 && new.size() != 0 && old.align() == new.align() {
        // SAFETY: a live block of the source's with its layout, and a size that is not zero.
        let moved = unsafe { source.realloc(block.as_ptr(), old, new.size()) };
        return Some(NonNull::slice_from_raw_parts(NonNull::new(moved)?, new.size()));
    }
    let target = take(source, new, false)?;
    let kept = old.size().min(new.size());
    // SAFETY: both blocks have that many bytes and are distinct; the old one is the caller's.
    unsafe {
        ptr::copy_nonoverlapping(block.as_ptr(), target.cast::<u8>().as_ptr(), kept);
        give(source, block, old);
    }
    Some(target)
}

fn carrel_source(carrel: &Carrel) -> Carrel {
    *carrel
}

/// Writes `Allocator` of the named crate for a type, with what leads from it to its blocks.
/// Layout and NonNull are in scope where it is used.
macro_rules! implement {
    ($($api:ident)::+, $allocator:ty, $source:expr) => {
        // SAFETY: blocks stay valid until they are given back, whatever happens to the value;
        // every copy of it can free what another one allocated.
        unsafe impl $($api)::+::Allocator for $allocator {
            #[inline]
            fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, $($api)::+::AllocError> {
                $crate::allocator::take(&$source(self), layout, false).ok_or($($api)::+::AllocError)
            }

            #[inline]
            fn allocate_zeroed(
                &self,
                layout: Layout,
            ) -> Result<NonNull<[u8]>, $($api)::+::AllocError> {
                $crate::allocator::take(&$source(self), layout, true).ok_or($($api)::+::AllocError)
            }

            #[inline]
            unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
                // SAFETY: the caller's promises are the same, here and below.
                unsafe { $crate::allocator::give(&$source(self), block, layout) }
            }

            #[inline]
            unsafe fn grow(
                &self,
                block: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, $($api)::+::AllocError> {
                // SAFETY: see deallocate.
                unsafe { $crate::allocator::resize(&$source(self), block, old, new) }
                    .ok_or($($api)::+::AllocError)
            }

            #[inline]
            unsafe fn shrink(
                &self,
                block: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, $($api)::+::AllocError> {
                // SAFETY: see deallocate.
                unsafe { $crate::allocator::resize(&$source(self), block, old, new) }
                    .ok_or($($api)::+::AllocError)
            }
        }
    };
}

#[cfg(feature = "allocator-api2")]
implement!(allocator_api2::alloc, Carrel, carrel_source);
#[cfg(feature = "nightly")]
implement!(core::alloc, Carrel, carrel_source);
