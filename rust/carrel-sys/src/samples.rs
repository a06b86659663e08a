//! Sample hooks of `carrel/carrel.h`, under their C names. A test compares this file with the
//! header.
#![allow(non_camel_case_types)]

use core::ffi::{c_int, c_uint, c_void};

use crate::carrel_result;

/// What a hook is told of.
pub type carrel_sample_event = c_uint;
/// The block is about to be handed out.
pub const CARREL_SAMPLE_ALLOCATED: carrel_sample_event = 0;
/// It is about to be given back; its contents are still there.
pub const CARREL_SAMPLE_FREED: carrel_sample_event = 1;

/// A sampled block.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct carrel_sample {
    /// Where it is.
    pub block: *mut c_void,
    /// Bytes that were asked for.
    pub size: u64,
    /// Bytes that the block has.
    pub usable_size: u64,
    /// Bytes of allocations that this sample stands for.
    pub weight_bytes: u64,
    /// Of a freed one: since it was allocated.
    pub lifetime_ns: u64,
    /// What happened.
    pub event: carrel_sample_event,
}

/// Is shown the context and a sample.
pub type carrel_sample_hook = Option<unsafe extern "C" fn(*mut c_void, *const carrel_sample)>;

extern "C" {
    /// Calls `hook` with `context` for one sampled allocation in `interval` bytes (0: the option
    /// `profile_interval_kib`); if `frees` is not 0, also for the frees of what it was told of. On
    /// the thread that allocates or frees, with no lock held; what it allocates is not sampled. It
    /// must not unwind. `CARREL_UNAVAILABLE` in the hardened build.
    pub fn carrel_sample_hook_add(
        hook: carrel_sample_hook,
        context: *mut c_void,
        interval: usize,
        frees: c_int,
    ) -> carrel_result;
    /// Removes this pair; afterwards no thread is in the hook.
    pub fn carrel_sample_hook_remove(
        hook: carrel_sample_hook,
        context: *mut c_void,
    ) -> carrel_result;
}
