//! `Allocator` for `Carrel`: core's under the feature `nightly`, allocator-api2's under its own.
//! The two traits have the same methods; one macro writes both.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use crate::Carrel;

/// A block for `layout`; for size 0 an aligned address that is never given back.
fn take(layout: Layout, zeroed: bool) -> Option<NonNull<[u8]>> {
    let block = if layout.size() == 0 {
        ptr::without_provenance_mut(layout.align())
    } else {
        // SAFETY: the size is not zero.
        unsafe {
            if zeroed {
                Carrel.alloc_zeroed(layout)
            } else {
                Carrel.alloc(layout)
            }
        }
    };
    Some(NonNull::slice_from_raw_parts(NonNull::new(block)?, layout.size()))
}

/// # Safety
/// As for `Allocator::deallocate`.
unsafe fn give(block: NonNull<u8>, layout: Layout) {
    if layout.size() != 0 {
        // SAFETY: a block that take() or resize() got from Carrel with this layout.
        unsafe { Carrel.dealloc(block.as_ptr(), layout) };
    }
}

/// Grows or shrinks in place where the alignment stays, else by copying.
///
/// # Safety
/// As for `Allocator::grow` and `Allocator::shrink`.
unsafe fn resize(block: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<[u8]>> {
    if old.size() != 0 && new.size() != 0 && old.align() == new.align() {
        // SAFETY: a live block of Carrel's with its layout, and a size that is not zero.
        let moved = unsafe { Carrel.realloc(block.as_ptr(), old, new.size()) };
        return Some(NonNull::slice_from_raw_parts(NonNull::new(moved)?, new.size()));
    }
    let target = take(new, false)?;
    let kept = old.size().min(new.size());
    // SAFETY: both blocks have that many bytes and are distinct; the old one is the caller's.
    unsafe {
        ptr::copy_nonoverlapping(block.as_ptr(), target.cast::<u8>().as_ptr(), kept);
        give(block, old);
    }
    Some(target)
}

macro_rules! implement {
    ($($api:ident)::+) => {
        // SAFETY: blocks stay valid until they are given back, whatever happens to the value,
        // which has no state; every value can free what another one allocated.
        unsafe impl $($api)::+::Allocator for Carrel {
            #[inline]
            fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, $($api)::+::AllocError> {
                take(layout, false).ok_or($($api)::+::AllocError)
            }

            #[inline]
            fn allocate_zeroed(
                &self,
                layout: Layout,
            ) -> Result<NonNull<[u8]>, $($api)::+::AllocError> {
                take(layout, true).ok_or($($api)::+::AllocError)
            }

            #[inline]
            unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
                // SAFETY: the caller's promises are the same, here and below.
                unsafe { give(block, layout) }
            }

            #[inline]
            unsafe fn grow(
                &self,
                block: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, $($api)::+::AllocError> {
                // SAFETY: see deallocate.
                unsafe { resize(block, old, new) }.ok_or($($api)::+::AllocError)
            }

            #[inline]
            unsafe fn shrink(
                &self,
                block: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, $($api)::+::AllocError> {
                // SAFETY: see deallocate.
                unsafe { resize(block, old, new) }.ok_or($($api)::+::AllocError)
            }
        }
    };
}

#[cfg(feature = "allocator-api2")]
implement!(allocator_api2::alloc);
#[cfg(feature = "nightly")]
implement!(core::alloc);
