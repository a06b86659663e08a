//! Budgets of threads, of `carrel/carrel.h`, under their C names. A test compares this file with
//! the header.
#![allow(non_camel_case_types)]

use crate::carrel_result;

/// A bound on what the thread that began it may have live more than then.
#[repr(C)]
pub struct carrel_budget {
    _private: [u8; 0],
}

/// A budget in numbers; sizes in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct carrel_budget_stats {
    /// As it was begun.
    pub bound_bytes: u64,
    /// Allocated less freed since; below 0 where more was freed.
    pub used_bytes: i64,
    /// The most that this has been.
    pub peak_bytes: u64,
    /// What still fits, into those around it too.
    pub room_bytes: u64,
    /// Requests that did not fit while it was the innermost.
    pub refusals: u64,
}

extern "C" {
    /// Begins a budget of `bytes` for the calling thread, in the innermost that it has.
    pub fn carrel_budget_begin(bytes: usize, budget: *mut *mut carrel_budget) -> carrel_result;
    /// Ends a budget of the calling thread and all that began in it.
    pub fn carrel_budget_end(budget: *mut carrel_budget) -> carrel_result;
    /// Fills the first `size` bytes of `stats`.
    pub fn carrel_budget_read(
        budget: *const carrel_budget,
        stats: *mut carrel_budget_stats,
        size: usize,
    ) -> carrel_result;
}
