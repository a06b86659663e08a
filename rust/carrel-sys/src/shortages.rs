//! Requests that are about to fail, of `carrel/carrel.h`, under their C names. A test compares this
//! file with the header.
#![allow(non_camel_case_types)]

use core::ffi::{c_int, c_uint, c_void};

use crate::{carrel_arena, carrel_result};

/// Why a request cannot be served, as far as that is known.
pub type carrel_shortage_cause = c_uint;
/// The system refuses, or grants no address space.
pub const CARREL_SHORT_OF_MEMORY: carrel_shortage_cause = 0;
/// The option `limit_mib`.
pub const CARREL_BEYOND_PROCESS_LIMIT: carrel_shortage_cause = 1;
/// [`crate::carrel_arena_set_limit`], or the arena is destroyed.
pub const CARREL_BEYOND_ARENA_LIMIT: carrel_shortage_cause = 2;
/// [`crate::carrel_budget_begin`].
pub const CARREL_BEYOND_BUDGET: carrel_shortage_cause = 3;

/// A request that is about to fail.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct carrel_shortage {
    /// Bytes that were asked for.
    pub size: u64,
    /// Of large blocks and of arenas'; else 16, and `size` may be rounded up.
    pub alignment: u64,
    /// That they were asked of; null for the heap.
    pub arena: *mut carrel_arena,
    /// Why.
    pub cause: carrel_shortage_cause,
    /// 1 at first, one more each time that the same request failed again.
    pub attempt: u32,
}

/// Is shown the context and a shortage; not 0: the request is tried once more.
pub type carrel_shortage_handler =
    Option<unsafe extern "C" fn(*mut c_void, *const carrel_shortage) -> c_int>;

extern "C" {
    /// Calls `handler` with `context` before a request fails for want of memory, on the thread that
    /// made it and with no lock held. It must not unwind; what it allocates fails without a further
    /// call. Null removes it.
    pub fn carrel_set_shortage_handler(
        handler: carrel_shortage_handler,
        context: *mut c_void,
    ) -> carrel_result;
    /// The same for requests of one arena, for which the process's handler is then not called.
    pub fn carrel_arena_set_shortage_handler(
        arena: *mut carrel_arena,
        handler: carrel_shortage_handler,
        context: *mut c_void,
    ) -> carrel_result;
}
