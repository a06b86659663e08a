//! Statistics and controls of `carrel/carrel.h`: types, constants and functions under their C
//! names. A test reads this file and compares it with the header.
#![allow(non_camel_case_types)]

use core::ffi::{c_char, c_int, c_uint, c_void};

/// What the functions below return: [`CARREL_OK`] or the reason why nothing was changed.
pub type carrel_result = c_uint;
/// Done.
pub const CARREL_OK: carrel_result = 0;
/// A null pointer where one is needed, a bad alignment.
pub const CARREL_BAD_ARGUMENT: carrel_result = 1;
/// No such control, option, class or shard.
pub const CARREL_UNKNOWN_NAME: carrel_result = 2;
/// A number read or written as text, an action read, and the like.
pub const CARREL_WRONG_TYPE: carrel_result = 3;
/// A number or a word that the control does not accept.
pub const CARREL_OUT_OF_RANGE: carrel_result = 4;
/// It can be read only, or is fixed at the start.
pub const CARREL_READ_ONLY: carrel_result = 5;
/// The buffer is too small for the text.
pub const CARREL_TOO_SMALL: carrel_result = 6;
/// Memory is exhausted.
pub const CARREL_NO_MEMORY: carrel_result = 7;
/// This build of the library, or the system, cannot do that.
pub const CARREL_UNAVAILABLE: carrel_result = 8;
/// A file could not be written; `errno` says why.
pub const CARREL_IO_ERROR: carrel_result = 9;
/// There are as many of these as there can be.
pub const CARREL_TOO_MANY: carrel_result = 10;

/// The process in numbers; sizes are in bytes, events are counted since the start.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct carrel_stats {
    /// In the program's hands, rounded up to slots and pages.
    pub live_bytes: u64,
    /// The blocks they are in.
    pub live_blocks: u64,
    /// Free blocks in thread caches.
    pub cached_bytes: u64,
    /// Address space of slabs and large blocks.
    pub active_bytes: u64,
    /// Of it in slabs.
    pub slab_bytes: u64,
    /// Of it in large blocks.
    pub large_bytes: u64,
    /// How many these are.
    pub large_blocks: u64,
    /// Obtained from the system for blocks.
    pub mapped_bytes: u64,
    /// Of it in no slab and no large block.
    pub free_bytes: u64,
    /// Of the free ones: perhaps resident, waiting to be purged.
    pub touched_bytes: u64,
    /// Of the free ones: known to hold no pages.
    pub untouched_bytes: u64,
    /// Of the mapped ones: in memory now, as the system says.
    pub resident_bytes: u64,
    /// Mapped for carrel's own records, apart from `mapped_bytes`.
    pub metadata_bytes: u64,
    /// Of these: in memory now, as the system says.
    pub metadata_resident_bytes: u64,
    /// Given back to the system so far.
    pub purged_bytes: u64,
    /// Runs of pages given back so far.
    pub purges: u64,
    /// Batches of blocks taken from slabs.
    pub refills: u64,
    /// Batches of blocks given back to slabs.
    pub flushes: u64,
    /// Blocks given back to slabs of another shard.
    pub remote_frees: u64,
    /// Times that a thread had to wait for a lock.
    pub contended: u64,
    /// Spans handed out, for slabs and large blocks.
    pub spans: u64,
    /// Times that memory was obtained from the system.
    pub extensions: u64,
    /// Threads with a cache.
    pub threads: u64,
    /// Sets of slabs that threads are dealt to.
    pub shards: u64,
    /// Of the active ones: in arenas.
    pub arena_bytes: u64,
    /// Arenas that exist.
    pub arenas: u64,
    /// Active and touched ones: what the limits are about.
    pub used_bytes: u64,
    /// Times that no memory was to be had, and none was got.
    pub refusals: u64,
    /// Of the resident ones: in huge pages, as the system says.
    pub huge_bytes: u64,
    /// Times that a shortage handler had a request tried again.
    pub retries: u64,
}

/// One size class over all shards.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct carrel_class_stats {
    /// Size of its blocks.
    pub block_bytes: u64,
    /// Slabs that are cut into such blocks.
    pub slabs: u64,
    /// Blocks that they have room for.
    pub slots: u64,
    /// In the program's hands.
    pub live_blocks: u64,
    /// Free, in thread caches.
    pub cached_blocks: u64,
    /// As in [`carrel_stats`], and so on.
    pub refills: u64,
    /// See [`carrel_stats`].
    pub flushes: u64,
    /// See [`carrel_stats`].
    pub remote_frees: u64,
    /// See [`carrel_stats`].
    pub contended: u64,
}

/// One shard over all classes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct carrel_shard_stats {
    /// Threads that are dealt to it.
    pub threads: u64,
    /// Slabs that it owns.
    pub slabs: u64,
    /// Address space of these.
    pub slab_bytes: u64,
    /// Of it in blocks that are live or cached.
    pub used_bytes: u64,
    /// In the caches of its threads, whatever shard the blocks are of.
    pub cached_bytes: u64,
    /// See [`carrel_stats`].
    pub refills: u64,
    /// See [`carrel_stats`].
    pub flushes: u64,
    /// See [`carrel_stats`].
    pub remote_frees: u64,
    /// See [`carrel_stats`].
    pub contended: u64,
}

/// How statistics are written.
pub type carrel_format = c_uint;
/// For people.
pub const CARREL_TEXT: carrel_format = 0;
/// One object; its member schema_version changes with its meaning.
pub const CARREL_JSON: carrel_format = 1;
/// Prometheus' text format 0.0.4.
pub const CARREL_PROMETHEUS: carrel_format = 2;

/// Takes a piece of text, which is not terminated: the context, the text, its bytes.
pub type carrel_write = Option<unsafe extern "C" fn(*mut c_void, *const c_char, usize)>;

/// What kind of thing a control is.
pub type carrel_ctl_type = c_uint;
/// A number.
pub const CARREL_CTL_NUMBER: carrel_ctl_type = 0;
/// A number in which each value has a name.
pub const CARREL_CTL_WORD: carrel_ctl_type = 1;
/// Text, to be read.
pub const CARREL_CTL_TEXT: carrel_ctl_type = 2;
/// Something to be done.
pub const CARREL_CTL_ACTION: carrel_ctl_type = 3;

/// What one control is; all text has static storage.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct carrel_ctl_info {
    /// Its name; `<i>` stands for a number.
    pub name: [c_char; 48],
    /// What it means.
    pub meaning: *const c_char,
    /// bytes, count, ms, KiB; empty for texts and actions.
    pub unit: *const c_char,
    /// Its kind.
    pub r#type: carrel_ctl_type,
    /// Whether it may be written.
    pub writable: c_int,
    /// Of what may be written.
    pub minimum: u64,
    /// Of what may be written.
    pub maximum: u64,
    /// Of a word: the values' names, at their positions; else null.
    pub words: *const *const c_char,
}

extern "C" {
    /// One line of English about a result, without a full stop. Static storage.
    pub fn carrel_result_text(result: carrel_result) -> *const c_char;
    /// Fills the first `size` bytes of `stats`; pass the size of [`carrel_stats`].
    pub fn carrel_stats_read(stats: *mut carrel_stats, size: usize) -> carrel_result;
    /// Fills up to `count` classes, the smallest first, and returns how many there are.
    pub fn carrel_stats_classes(classes: *mut carrel_class_stats, count: usize) -> usize;
    /// Fills up to `count` shards and returns how many there are.
    pub fn carrel_stats_shards(shards: *mut carrel_shard_stats, count: usize) -> usize;
    /// Writes all statistics piece by piece through `write`, which gets `context`.
    pub fn carrel_stats_print(
        format: carrel_format,
        write: carrel_write,
        context: *mut c_void,
    ) -> carrel_result;
    /// Reads a number; the position of a word.
    pub fn carrel_ctl_read_u64(name: *const c_char, value: *mut u64) -> carrel_result;
    /// Reads any value as text into `buffer`, terminated.
    pub fn carrel_ctl_read_text(
        name: *const c_char,
        buffer: *mut c_char,
        capacity: usize,
    ) -> carrel_result;
    /// Writes a number.
    pub fn carrel_ctl_write_u64(name: *const c_char, value: u64) -> carrel_result;
    /// Writes a number in decimal or a word.
    pub fn carrel_ctl_write_text(name: *const c_char, value: *const c_char) -> carrel_result;
    /// Does what an action's name says.
    pub fn carrel_ctl_run(name: *const c_char) -> carrel_result;
    /// Describes the control number `index`, from 0 on; [`CARREL_OUT_OF_RANGE`] beyond the last.
    pub fn carrel_ctl_list(index: usize, info: *mut carrel_ctl_info) -> carrel_result;
    /// Writes one line about a result that a function gave for `name` into `buffer`; returns it.
    pub fn carrel_ctl_explain(
        name: *const c_char,
        result: carrel_result,
        buffer: *mut c_char,
        capacity: usize,
    ) -> *const c_char;
}
