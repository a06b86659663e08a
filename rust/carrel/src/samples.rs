//! Hooks: functions of the program that hear of sampled allocations.

use core::fmt;

/// What a hook is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SampleEvent {
    /// The block is about to be handed out.
    Allocated,
    /// It is about to be given back.
    Freed,
}

/// A sampled block; sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// Its address, by which a free can be matched to its allocation.
    pub block: *const u8,
    /// What was asked for.
    pub size: usize,
    /// What the block has.
    pub usable_size: usize,
    /// How many bytes of allocations this sample stands for: their sum is an unbiased estimate.
    pub weight_bytes: u64,
    /// Of a freed block: nanoseconds since it was allocated.
    pub lifetime_ns: u64,
    /// What happened.
    pub event: SampleEvent,
}

/// Why there is no such hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SampleHookError {
    /// The same function is a hook already.
    AlreadyThere,
    /// The interval is beyond 2^40.
    OutOfRange,
    /// There are eight.
    TooMany,
    /// Memory is exhausted.
    NoMemory,
    /// The hardened build has none, nor has an unsupported target.
    Unavailable,
}

impl fmt::Display for SampleHookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SampleHookError::AlreadyThere => "the function is a sample hook already",
            SampleHookError::OutOfRange => "a sample hook's interval is beyond 2^40 bytes",
            SampleHookError::TooMany => "there are eight sample hooks already",
            SampleHookError::NoMemory => "memory is exhausted",
            SampleHookError::Unavailable => "this build of carrel has no sample hooks",
        })
    }
}

impl core::error::Error for SampleHookError {}

/// A function that hears of sampled allocations, until this is dropped: then no thread is in it any
/// more (unless a hook drops it).
///
/// The function is called on the thread that allocates or frees. It may allocate: that is not
/// sampled, and no hook is told of what a hook frees. A panic in it ends the process. It must not
/// wait for a thread that allocates, and this must not be dropped with a lock held that the
/// function takes.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: carrel::Carrel = carrel::Carrel;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// static BYTES: AtomicU64 = AtomicU64::new(0);
/// fn count(sample: &carrel::Sample) {
///     BYTES.fetch_add(sample.weight_bytes, Ordering::Relaxed);
/// }
///
/// match carrel::SampleHook::new(count, 64 * 1024, false) {
///     Ok(_hook) => {
///         let blocks: Vec<Vec<u8>> = (0..100).map(|_| vec![0; 1 << 20]).collect();
///         assert!(BYTES.load(Ordering::Relaxed) > 90 << 20); // some 100 MiB
///         drop(blocks);
///     }
///     Err(error) => assert_eq!(error, carrel::SampleHookError::Unavailable),
/// }
/// ```
#[derive(Debug)]
pub struct SampleHook {
    function: fn(&Sample),
}

impl SampleHook {
    /// Has `function` called for one sampled allocation in `interval` bytes, on average (0: the
    /// option `profile_interval_kib`), and, with `frees`, for the frees of what it was told of.
    ///
    /// # Errors
    /// See [`SampleHookError`]; functions are told apart by their addresses.
    pub fn new(
        function: fn(&Sample),
        interval: usize,
        frees: bool,
    ) -> Result<Self, SampleHookError> {
        crate::heap::add_sample_hook(function, interval, frees)?;
        Ok(SampleHook { function })
    }
}

impl Drop for SampleHook {
    fn drop(&mut self) {
        crate::heap::remove_sample_hook(self.function);
    }
}
