//! `Carrel` on a supported target: every request is one call of the C API.

#[cfg(feature = "stats")]
extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_int, c_void, CStr};
use core::{mem, ptr};

use crate::{BudgetError, BudgetStats, Carrel, Cause, OptionError, Sample, SampleEvent};
use crate::{SampleHookError, Shortage};

#[cfg(any(feature = "allocator-api2", feature = "nightly"))]
mod arena;

/// What there is only where carrel runs; part of the crate's own names.
#[cfg(any(feature = "allocator-api2", feature = "nightly"))]
pub mod arenas {
    pub use super::arena::{Arena, ArenaError, ArenaOptions, ArenaPages, ArenaStats};
}

/// What carrel_malloc and its like align to; the C API promises it.
const PLAIN_ALIGN: usize = 16;

/// Blocks of at least this many bytes are runs of pages, which begin where a coarser alignment
/// than asked for holds too.
const PAGES: usize = 64 * 1024;

// SAFETY: carrel's blocks are disjoint, as large as asked for and aligned as asked for; it never
// unwinds, and reports exhaustion by null. Every block is given back with the layout that it was
// asked for, which is what the sized functions want.
unsafe impl GlobalAlloc for Carrel {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size and any power of two may be asked for.
        let block = unsafe {
            if layout.align() <= PLAIN_ALIGN {
                carrel_sys::carrel_malloc(layout.size())
            } else {
                carrel_sys::carrel_aligned_alloc(layout.align(), layout.size())
            }
        };
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller hands in a live block and its layout.
        unsafe {
            if layout.align() <= PLAIN_ALIGN {
                carrel_sys::carrel_free_sized(block.cast(), layout.size());
            } else {
                let (size, align) = (layout.size(), layout.align());
                carrel_sys::carrel_free_sized_aligned(block.cast(), size, align);
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= PLAIN_ALIGN {
            // SAFETY: as for alloc.
            unsafe { carrel_sys::carrel_calloc(1, layout.size()) }.cast()
        } else {
            aligned_zeroed(layout)
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller hands in a live block and its layout, and asks for at least one byte.
        let moved = unsafe {
            if layout.align() <= PLAIN_ALIGN {
                carrel_sys::carrel_realloc(block.cast(), new_size)
            } else {
                let (size, align) = (layout.size(), layout.align());
                carrel_sys::carrel_realloc_sized_aligned(block.cast(), size, new_size, align)
            }
        };
        moved.cast()
    }
}

/// Zeroed memory with a coarse alignment, of which the C API has no function. A block of whole
/// pages is mostly aligned anyway, and may be known to be zero: it is tried first.
#[cold]
fn aligned_zeroed(layout: Layout) -> *mut u8 {
    // SAFETY: any size may be asked for; what is freed was just allocated; what is written lies
    // within the block.
    unsafe {
        if layout.size() >= PAGES && layout.align() <= PAGES {
            let block = carrel_sys::carrel_calloc(1, layout.size());
            if block.is_null() || block as usize % layout.align() == 0 {
                return block.cast();
            }
            carrel_sys::carrel_free_sized(block, layout.size());
        }
        let block = carrel_sys::carrel_aligned_alloc(layout.align(), layout.size());
        if !block.is_null() {
            ptr::write_bytes(block.cast::<u8>(), 0, layout.size());
        }
        block.cast()
    }
}

#[inline]
pub unsafe fn usable_size(block: *const u8) -> usize {
    // SAFETY: the caller's promise is the same.
    unsafe { carrel_sys::carrel_usable_size(block.cast()) }
}

#[inline]
pub fn good_size(size: usize) -> usize {
    // SAFETY: takes any number.
    unsafe { carrel_sys::carrel_good_size(size) }
}

/// `context` is the program's `fn(&Shortage) -> bool`.
unsafe extern "C" fn on_shortage(
    context: *mut c_void,
    shortage: *const carrel_sys::carrel_shortage,
) -> c_int {
    // SAFETY: set_shortage_handler made the context from such a function; the shortage is carrel's
    // for the time of the call.
    let (handler, shortage) =
        unsafe { (mem::transmute::<*mut c_void, fn(&Shortage) -> bool>(context), &*shortage) };
    let cause = match shortage.cause {
        carrel_sys::CARREL_BEYOND_PROCESS_LIMIT => Cause::ProcessLimit,
        carrel_sys::CARREL_BEYOND_ARENA_LIMIT => Cause::ArenaLimit,
        carrel_sys::CARREL_BEYOND_BUDGET => Cause::Budget,
        _ => Cause::ShortOfMemory,
    };
    c_int::from(handler(&Shortage {
        size: shortage.size as usize,
        alignment: shortage.alignment as usize,
        of_arena: !shortage.arena.is_null(),
        cause,
        attempt: shortage.attempt,
    }))
}

pub fn set_shortage_handler(handler: Option<fn(&Shortage) -> bool>) {
    let context = handler.map_or(ptr::null_mut(), |function| function as *mut c_void);
    let call = handler.map(|_| on_shortage as _);
    // SAFETY: the two belong together, and functions live for ever.
    unsafe { carrel_sys::carrel_set_shortage_handler(call, context) };
}

/// `context` is the program's `fn(&Sample)`.
unsafe extern "C" fn on_sample(context: *mut c_void, sample: *const carrel_sys::carrel_sample) {
    // SAFETY: add_sample_hook made the context from such a function; the sample is carrel's for the
    // time of the call.
    let (hook, sample) = unsafe { (mem::transmute::<*mut c_void, fn(&Sample)>(context), &*sample) };
    hook(&Sample {
        block: sample.block.cast::<u8>().cast_const(),
        size: sample.size as usize,
        usable_size: sample.usable_size as usize,
        weight_bytes: sample.weight_bytes,
        lifetime_ns: sample.lifetime_ns,
        event: match sample.event {
            carrel_sys::CARREL_SAMPLE_FREED => SampleEvent::Freed,
            _ => SampleEvent::Allocated,
        },
    });
}

pub fn add_sample_hook(
    hook: fn(&Sample),
    interval: usize,
    frees: bool,
) -> Result<(), SampleHookError> {
    let context = hook as *mut c_void;
    // SAFETY: the two belong together, and functions live for ever.
    let result = unsafe {
        carrel_sys::carrel_sample_hook_add(Some(on_sample), context, interval, c_int::from(frees))
    };
    match result {
        carrel_sys::CARREL_OK => Ok(()),
        carrel_sys::CARREL_BAD_ARGUMENT => Err(SampleHookError::AlreadyThere),
        carrel_sys::CARREL_OUT_OF_RANGE => Err(SampleHookError::OutOfRange),
        carrel_sys::CARREL_TOO_MANY => Err(SampleHookError::TooMany),
        carrel_sys::CARREL_NO_MEMORY => Err(SampleHookError::NoMemory),
        _ => Err(SampleHookError::Unavailable),
    }
}

pub fn remove_sample_hook(hook: fn(&Sample)) {
    // SAFETY: as for add_sample_hook.
    unsafe { carrel_sys::carrel_sample_hook_remove(Some(on_sample), hook as *mut c_void) };
}

/// A live budget of the thread that has it.
#[derive(Debug)]
pub struct BudgetHandle(*mut carrel_sys::carrel_budget);

pub fn begin_budget(bytes: usize) -> Result<BudgetHandle, BudgetError> {
    let mut budget = ptr::null_mut();
    // SAFETY: a place for the result.
    match unsafe { carrel_sys::carrel_budget_begin(bytes, &mut budget) } {
        carrel_sys::CARREL_OK => Ok(BudgetHandle(budget)),
        carrel_sys::CARREL_OUT_OF_RANGE => Err(BudgetError::OutOfRange),
        carrel_sys::CARREL_NO_MEMORY => Err(BudgetError::NoMemory),
        _ => Err(BudgetError::Unavailable),
    }
}

pub fn end_budget(handle: &BudgetHandle) {
    // SAFETY: takes any pointer: one that is no budget of the thread's is refused.
    unsafe { carrel_sys::carrel_budget_end(handle.0) };
}

pub fn budget_stats(handle: &BudgetHandle) -> BudgetStats {
    let mut all = carrel_sys::carrel_budget_stats::default();
    // SAFETY: a structure of the size that is said; any pointer, as above.
    unsafe { carrel_sys::carrel_budget_read(handle.0, &mut all, size_of_val(&all)) };
    BudgetStats {
        bound_bytes: all.bound_bytes,
        used_bytes: all.used_bytes,
        peak_bytes: all.peak_bytes,
        room_bytes: all.room_bytes,
        refusals: all.refusals,
    }
}

#[inline]
pub fn purge() -> usize {
    // SAFETY: touches no live block.
    unsafe { carrel_sys::carrel_purge() }
}

pub fn version() -> &'static str {
    // SAFETY: a string of static storage, which ends with a zero byte.
    unsafe { CStr::from_ptr(carrel_sys::carrel_version()) }.to_str().unwrap_or("")
}

pub fn owns(block: *const u8) -> Option<bool> {
    if !carrel_sys::KNOWS_OWNERS {
        return None;
    }
    // SAFETY: takes any address and reads nothing there.
    Some(unsafe { carrel_sys::carrel_sys_owns(block.cast()) } != 0)
}

pub fn set_option(key: &CStr, value: &CStr) -> Result<(), OptionError> {
    // SAFETY: both end with a zero byte and are read before the call returns.
    match unsafe { carrel_sys::carrel_set_option(key.as_ptr(), value.as_ptr()) } {
        0 => Err(OptionError),
        _ => Ok(()),
    }
}

#[cfg(feature = "stats")]
pub fn stats() -> crate::Stats {
    let mut all = carrel_sys::carrel_stats::default();
    // SAFETY: a structure of the size that is said.
    unsafe { carrel_sys::carrel_stats_read(&mut all, size_of_val(&all)) };
    crate::Stats {
        live_bytes: all.live_bytes,
        live_blocks: all.live_blocks,
        cached_bytes: all.cached_bytes,
        mapped_bytes: all.mapped_bytes,
        active_bytes: all.active_bytes,
        free_bytes: all.free_bytes,
        resident_bytes: all.resident_bytes,
        metadata_bytes: all.metadata_bytes,
        metadata_resident_bytes: all.metadata_resident_bytes,
        large_bytes: all.large_bytes,
        large_blocks: all.large_blocks,
        purged_bytes: all.purged_bytes,
        refills: all.refills,
        flushes: all.flushes,
        contended: all.contended,
        threads: all.threads,
        shards: all.shards,
    }
}

#[cfg(feature = "stats")]
pub fn stats_text(format: crate::Format) -> alloc::string::String {
    use core::ffi::{c_char, c_void};

    unsafe extern "C" fn append(text: *mut c_void, piece: *const c_char, size: usize) {
        // SAFETY: the context is the string below, and the piece `size` bytes of ASCII.
        unsafe {
            let bytes = core::slice::from_raw_parts(piece.cast::<u8>(), size);
            let text = &mut *text.cast::<alloc::string::String>();
            text.push_str(core::str::from_utf8(bytes).unwrap_or(""));
        }
    }
    let format = match format {
        crate::Format::Text => carrel_sys::CARREL_TEXT,
        crate::Format::Json => carrel_sys::CARREL_JSON,
        crate::Format::Prometheus => carrel_sys::CARREL_PROMETHEUS,
    };
    let mut text = alloc::string::String::new();
    // SAFETY: append may be called with this context until the call returns.
    unsafe { carrel_sys::carrel_stats_print(format, Some(append), (&raw mut text).cast()) };
    text
}
