//! `Carrel` where carrel does not run: the system's allocator under the same names.

extern crate std;

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::CStr;
use std::alloc::System;

use crate::{BudgetError, BudgetStats, Carrel, OptionError, Sample, SampleHookError, Shortage};

/// No arenas here.
#[cfg(any(feature = "allocator-api2", feature = "nightly"))]
pub mod arenas {}

// SAFETY: System is an allocator, and every call goes to it as it came.
unsafe impl GlobalAlloc for Carrel {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same, here and below.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: see alloc.
        unsafe { System.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see alloc.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: see alloc.
        unsafe { System.realloc(block, layout, new_size) }
    }
}

pub unsafe fn usable_size(_block: *const u8) -> usize {
    0
}

pub fn set_shortage_handler(_handler: Option<fn(&Shortage) -> bool>) {}

pub fn add_sample_hook(
    _hook: fn(&Sample),
    _interval: usize,
    _frees: bool,
) -> Result<(), SampleHookError> {
    Err(SampleHookError::Unavailable)
}

pub fn remove_sample_hook(_hook: fn(&Sample)) {}

/// There is none.
#[derive(Debug)]
pub struct BudgetHandle;

pub fn begin_budget(_bytes: usize) -> Result<BudgetHandle, BudgetError> {
    Err(BudgetError::Unavailable)
}

pub fn end_budget(_handle: &BudgetHandle) {}

pub fn budget_stats(_handle: &BudgetHandle) -> BudgetStats {
    BudgetStats::default()
}

pub fn good_size(size: usize) -> usize {
    size
}

pub fn purge() -> usize {
    0
}

pub fn version() -> &'static str {
    ""
}

pub fn owns(_block: *const u8) -> Option<bool> {
    None
}

pub fn set_option(_key: &CStr, _value: &CStr) -> Result<(), OptionError> {
    Err(OptionError)
}

#[cfg(feature = "stats")]
pub fn stats() -> crate::Stats {
    crate::Stats::default()
}

#[cfg(feature = "stats")]
pub fn stats_text(_format: crate::Format) -> std::string::String {
    std::string::String::new()
}
