//! Budgets: bounds on what a thread may allocate in a scope.

use core::fmt;
use core::marker::PhantomData;

/// A bound on what the thread that began it may have live more than then: what it allocates less
/// what it frees, whoever allocated that. It ends when this is dropped, which should be in the
/// reverse order of beginning.
///
/// What does not fit fails as when memory is exhausted: `Vec::try_reserve` and its like return an
/// error, infallible allocations abort. Counted are whole slots and pages
/// ([`good_size`](crate::good_size) in the default build), exactly. Blocks of arenas are not.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: carrel::Carrel = carrel::Carrel;
/// match carrel::Budget::new(1 << 20) {
///     Ok(budget) => {
///         let mut bytes = Vec::<u8>::new();
///         assert!(bytes.try_reserve_exact(2 << 20).is_err());
///         assert!(bytes.try_reserve_exact(500 << 10).is_ok());
///         assert!(budget.stats().used_bytes >= 500 << 10);
///     }
///     Err(error) => assert_eq!(error, carrel::BudgetError::Unavailable),
/// }
/// ```
#[derive(Debug)]
pub struct Budget {
    handle: crate::heap::BudgetHandle,
    of_this_thread: PhantomData<*mut ()>,
}

/// A budget in numbers; sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetStats {
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

/// Why there is no budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BudgetError {
    /// More than `isize::MAX`.
    OutOfRange,
    /// Memory is exhausted.
    NoMemory,
    /// The thread is about to end, a checker has carrel's place, or the target is not supported.
    Unavailable,
}

impl fmt::Display for BudgetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BudgetError::OutOfRange => "a budget of more than isize::MAX bytes",
            BudgetError::NoMemory => "memory is exhausted",
            BudgetError::Unavailable => "carrel has no budgets for this thread or on this target",
        })
    }
}

impl core::error::Error for BudgetError {}

impl Budget {
    /// From now on the calling thread may have `bytes` more live than now.
    ///
    /// # Errors
    /// See [`BudgetError`].
    pub fn new(bytes: usize) -> Result<Self, BudgetError> {
        let handle = crate::heap::begin_budget(bytes)?;
        Ok(Budget { handle, of_this_thread: PhantomData })
    }

    /// In numbers.
    pub fn stats(&self) -> BudgetStats {
        crate::heap::budget_stats(&self.handle)
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        crate::heap::end_budget(&self.handle);
    }
}
