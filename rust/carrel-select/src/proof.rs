//! Finding out which allocator serves the process, by asking for memory and looking whose it is.
//!
//! No allocator is asked about a block that may be another's, unless it can bear the question.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

use crate::{Proof, Serving, NAME};

/// Allocates a few small blocks from the global allocator and finds out who handed them out.
///
/// carrel and mimalloc are asked whether a block is theirs. Of the others it is observed that they
/// hand the block again that they were given last: a block freed to the candidate comes back from
/// the global allocator, which no other one could do, since freed small blocks stay mapped. Where
/// a C library does not (musl's), the answer is [`Serving::Unknown`], never a guess.
///
/// Costs some microseconds. May be called at any time from any thread.
pub fn prove() -> Proof {
    let serving = if NAME != "system" && is_chosen() {
        Serving::Chosen(NAME)
    } else if comes_back(&System) {
        Serving::System { library: file_of_malloc() }
    } else {
        Serving::Unknown
    };
    Proof { chosen: NAME, serving }
}

#[cfg(any(feature = "carrel", feature = "carrel-secure"))]
fn is_chosen() -> bool {
    with_global_block(carrel::owns).unwrap_or_else(|| comes_back(&crate::SELECTED))
}

#[cfg(all(feature = "mimalloc", not(any(feature = "carrel", feature = "carrel-secure"))))]
fn is_chosen() -> bool {
    extern "C" {
        // Reads its own map only, for any address.
        fn mi_is_in_heap_region(block: *const u8) -> bool;
    }
    // SAFETY: any address may be asked about.
    with_global_block(|block| unsafe { mi_is_in_heap_region(block) })
}

#[cfg(not(any(feature = "carrel", feature = "carrel-secure", feature = "mimalloc")))]
fn is_chosen() -> bool {
    comes_back(&crate::SELECTED)
}

/// Calls `ask` with a live block of the global allocator.
#[cfg(any(feature = "carrel", feature = "carrel-secure", feature = "mimalloc"))]
fn with_global_block<Answer>(ask: impl FnOnce(*const u8) -> Answer) -> Answer {
    let block = black_box(Box::new([0u8; 200]));
    ask(black_box(block.as_ptr()))
}

/// Whether a block that was just given to `candidate` comes from the global allocator next.
fn comes_back(candidate: &impl GlobalAlloc) -> bool {
    [40, 200, 1000].into_iter().any(|size| {
        let Ok(layout) = Layout::from_size_align(size, 8) else { return false };
        // SAFETY: sizes are not zero; each block goes back to where it came from, and only the
        // address of one that is gone is looked at.
        unsafe {
            let gone = black_box(candidate.alloc(layout));
            if gone.is_null() {
                return false;
            }
            candidate.dealloc(gone, layout);
            let fresh = black_box(std::alloc::alloc(layout));
            if fresh.is_null() {
                return false;
            }
            let same = std::ptr::eq(fresh, gone);
            std::alloc::dealloc(fresh, layout);
            same
        }
    })
}

/// The file that defines the process's malloc: libc's, or that of a preloaded allocator.
#[cfg(target_os = "linux")]
fn file_of_malloc() -> Option<String> {
    use std::ffi::{c_char, c_int, c_void, CStr};

    #[repr(C)]
    struct Place {
        file: *const c_char,
        base: *mut c_void,
        symbol: *const c_char,
        address: *mut c_void,
    }
    extern "C" {
        fn malloc(size: usize) -> *mut c_void;
        fn dladdr(address: *const c_void, place: *mut Place) -> c_int;
    }
    // SAFETY: dladdr fills the structure if it returns nonzero, and its strings stay.
    unsafe {
        let mut place = std::mem::zeroed::<Place>();
        if dladdr(malloc as *const c_void, &mut place) == 0 || place.file.is_null() {
            return None;
        }
        Some(CStr::from_ptr(place.file).to_string_lossy().into_owned())
    }
}

#[cfg(not(target_os = "linux"))]
fn file_of_malloc() -> Option<String> {
    None
}
