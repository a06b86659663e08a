//! Heap profiles of `carrel/carrel.h`, under their C names. A test compares this file with the
//! header.

use core::ffi::{c_char, c_int};

use crate::control::carrel_result;

extern "C" {
    /// Begins to sample allocations, every `interval` bytes on average; 0 for the option
    /// `profile_interval_kib`. `CARREL_UNAVAILABLE` in the hardened build, and
    /// where there is no unwinder.
    pub fn carrel_profile_start(interval: usize) -> carrel_result;
    /// Ends sampling; sampled blocks stay in the profile until they are freed.
    pub fn carrel_profile_stop() -> carrel_result;
    /// Forgets all allocations until now, and the peak, but not what is live.
    pub fn carrel_profile_reset() -> carrel_result;
    /// Writes the profile, gzipped `profile.proto`, to a file; null for a name of its own.
    pub fn carrel_profile_dump(path: *const c_char) -> carrel_result;
    /// The same to an open file, which stays open.
    pub fn carrel_profile_dump_fd(fd: c_int) -> carrel_result;
}
