//! The carrel memory allocator for Rust programs.
//!
//! ```
//! #[global_allocator]
//! static GLOBAL: carrel::Carrel = carrel::Carrel;
//!
//! let numbers: Vec<u64> = (0..1000).collect();
//! assert_eq!(numbers.iter().sum::<u64>(), 499_500);
//! ```
//!
//! Every call is one call into the allocator: no state, no branches beyond the one that asks for
//! more than 16 bytes of alignment. All sizes are in bytes. All functions may be called from any
//! thread at any time, also after `fork` in the child, but not from a signal handler.
//!
//! On targets that carrel does not support (anything but 64-bit Linux on x86-64 and aarch64), and
//! under Miri, [`Carrel`] forwards to the system's allocator, and [`SUPPORTED`] is false; with the
//! feature `strict-target` such a target is a compile error. Miri on a supported target is none.
//!
//! # Features
//!
//! | feature | |
//! | --- | --- |
//! | `secure` | the hardened build: misuse is noticed more often and at once, at some cost |
//! | `override` | C and C++ code in the same binary uses carrel's heap too |
//! | `local-dynamic-tls` | for a `cdylib` that another program loads while it runs |
//! | `stats` | `stats` and `stats_text`: the heap in numbers |
//! | `serde` | `serde::Serialize` for `Stats`; implies `stats` |
//! | `allocator-api2` | `allocator_api2::alloc::Allocator` for [`Carrel`] and for arenas |
//! | `nightly` | `core::alloc::Allocator` for both; needs a nightly compiler |
//! | `strict-target` | an unsupported target is an error |
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![no_std]

#[cfg(any(feature = "allocator-api2", feature = "nightly"))]
#[macro_use]
mod allocator;
mod budget;
// The condition is carrel_sys::SUPPORTED's.
#[cfg_attr(
    not(all(
        not(miri),
        target_os = "linux",
        target_pointer_width = "64",
        any(target_arch = "x86_64", target_arch = "aarch64")
    )),
    path = "system.rs"
)]
mod heap;
mod samples;
#[cfg(feature = "stats")]
mod stats;

use core::fmt;

pub use budget::{Budget, BudgetError, BudgetStats};
pub use samples::{Sample, SampleEvent, SampleHook, SampleHookError};
#[cfg(feature = "stats")]
pub use stats::{stats, stats_text, Format, Stats};

pub use carrel_sys::{SECURE, SUPPORTED};
#[cfg(any(feature = "allocator-api2", feature = "nightly"))]
#[allow(unused_imports)] // empty where carrel does not run
pub use heap::arenas::*;

/// The process's carrel heap as an allocator. Has no size; every value is the same heap.
///
/// Use it as the `#[global_allocator]`, or beside another one: its blocks are its own, whoever is
/// global. A block must go back to carrel with the layout it was allocated with; one that is not
/// carrel's ends the process with a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Carrel;

/// The bytes that may be used in a live block, at least what was asked for; 0 for null. On an
/// unsupported target 0, which means not known.
///
/// ```
/// let block = Box::new([0u8; 100]);
/// # #[global_allocator]
/// # static GLOBAL: carrel::Carrel = carrel::Carrel;
/// let usable = unsafe { carrel::usable_size(block.as_ptr()) };
/// assert!(usable >= 100 || !carrel::SUPPORTED);
/// ```
///
/// # Safety
/// `block` is null or a live block of carrel's. Another one's ends the process.
#[inline]
pub unsafe fn usable_size(block: *const u8) -> usize {
    // SAFETY: the caller's promise is the same.
    unsafe { heap::usable_size(block) }
}

/// The bytes that an allocation of `size` (at most 16-byte aligned) would really get: asking for
/// them costs nothing more. `size` itself when no such allocation could succeed.
///
/// ```
/// assert!(carrel::good_size(1000) >= 1000);
/// ```
#[inline]
pub fn good_size(size: usize) -> usize {
    heap::good_size(size)
}

/// Gives what the calling thread caches and every page that holds no live block back to the
/// system, now. Returns the bytes given back. Costs system calls: for moments when the program
/// knows that it will be idle.
#[inline]
pub fn purge() -> usize {
    heap::purge()
}

/// The version of the carrel library that is running, for example "0.1.0"; empty on an unsupported
/// target.
#[inline]
pub fn version() -> &'static str {
    heap::version()
}

/// Whether `block` is the address of a block of carrel's. Any address may be asked about, null and
/// other allocators' included: nothing behind it is read. `None` where that cannot be told: with an
/// installed library (`CARREL_LIB_DIR`), and on an unsupported target.
///
/// It is no question for addresses inside a block, nor whether a block is still live: `Some(true)`
/// too for any address in a slab of small blocks and in the first 64 KiB of a large block, and
/// `Some(false)` further inside one.
///
/// ```
/// let number = 5;
/// assert_ne!(carrel::owns(&raw const number as *const u8), Some(true)); // it is on the stack
/// ```
#[inline]
pub fn owns(block: *const u8) -> Option<bool> {
    heap::owns(block)
}

/// Sets a run-time option; the keys are those of the environment variable `CARREL_OPTIONS`.
///
/// # Errors
/// An unknown key, a value out of range, an option that is read only at start, or a NUL byte in
/// either.
///
/// ```
/// if carrel::SUPPORTED {
///     carrel::set_option(c"decay_ms", c"100").unwrap();
///     assert!(carrel::set_option(c"no_such_key", c"1").is_err());
/// }
/// ```
pub fn set_option(key: &core::ffi::CStr, value: &core::ffi::CStr) -> Result<(), OptionError> {
    heap::set_option(key, value)
}

/// An option was not set: its key is unknown, its value is out of range, or it is read only at the
/// start of the process. The README's table of options has the keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionError;

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("carrel refuses the option: unknown key, bad value, or read only at start")
    }
}

impl core::error::Error for OptionError {}

/// Why a request cannot be served, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The system refuses, or grants no address space.
    ShortOfMemory,
    /// The option `limit_mib`.
    ProcessLimit,
    /// The limit of an arena.
    ArenaLimit,
    /// A [`Budget`] of the thread.
    Budget,
}

/// A request that is about to fail; sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shortage {
    /// What was asked for.
    pub size: usize,
    /// The alignment of large blocks and of arenas'; else 16, and `size` may be rounded up.
    pub alignment: usize,
    /// Whether it was asked of an arena.
    pub of_arena: bool,
    /// Why it cannot be served.
    pub cause: Cause,
    /// 1 at first, one more each time that the same request failed again.
    pub attempt: u32,
}

/// Has `handler` called before a request fails for want of memory, on the thread that made it: it
/// may free memory, and returns whether to try again. What it allocates itself fails without a
/// further call. A panic in it ends the process. One handler serves the process; `None` removes it.
/// Does nothing on an unsupported target.
///
/// ```
/// fn drop_caches(shortage: &carrel::Shortage) -> bool {
///     // ... free what can be missed ...
///     shortage.attempt == 1
/// }
/// carrel::set_shortage_handler(Some(drop_caches));
/// # carrel::set_shortage_handler(None);
/// ```
pub fn set_shortage_handler(handler: Option<fn(&Shortage) -> bool>) {
    heap::set_shortage_handler(handler);
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
