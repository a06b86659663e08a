//! The process's heap in numbers. All zero on an unsupported target.

extern crate alloc;

use alloc::string::String;

/// The heap in numbers: sizes in bytes, events since the start of the process. Each is exact at the
/// moment its part was asked; together they may be off by what other threads did meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// In the program's hands, rounded up to slots and pages.
    pub live_bytes: u64,
    /// The blocks they are in.
    pub live_blocks: u64,
    /// Free blocks in thread caches.
    pub cached_bytes: u64,
    /// Obtained from the system for blocks.
    pub mapped_bytes: u64,
    /// Of it in use by slabs and large blocks.
    pub active_bytes: u64,
    /// Of it in neither.
    pub free_bytes: u64,
    /// Of the mapped ones: in memory now, as the system says.
    pub resident_bytes: u64,
    /// Mapped for carrel's own records, apart from `mapped_bytes`.
    pub metadata_bytes: u64,
    /// Of these: in memory now, as the system says.
    pub metadata_resident_bytes: u64,
    /// In blocks of more than 32 KiB.
    pub large_bytes: u64,
    /// How many these are.
    pub large_blocks: u64,
    /// Given back to the system so far.
    pub purged_bytes: u64,
    /// Batches of blocks that threads took from slabs.
    pub refills: u64,
    /// Batches of blocks that they gave back.
    pub flushes: u64,
    /// Times that a thread had to wait for a lock.
    pub contended: u64,
    /// Threads with a cache.
    pub threads: u64,
    /// Sets of slabs that threads are dealt to.
    pub shards: u64,
}

/// How [`stats_text`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object, whose member schema_version changes with its meaning.
    Json,
    /// Prometheus' text format 0.0.4.
    Prometheus,
}

/// The process's heap in numbers, now. Costs some microseconds, and some milliseconds per resident
/// gigabyte, which the system is asked about.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: carrel::Carrel = carrel::Carrel;
/// let block = vec![0u8; 1 << 20];
/// let stats = carrel::stats();
/// assert!(stats.live_bytes >= 1 << 20 || !carrel::SUPPORTED);
/// # drop(block);
/// ```
pub fn stats() -> Stats {
    crate::heap::stats()
}

/// All statistics as text, by size class and shard too. Empty on an unsupported target.
///
/// ```
/// let text = carrel::stats_text(carrel::Format::Json);
/// assert!(text.starts_with('{') || !carrel::SUPPORTED);
/// ```
pub fn stats_text(format: Format) -> String {
    crate::heap::stats_text(format)
}
