//! Lets `carrel record`, `profile` and `advise` see what a program's global allocator does.
//!
//! What the carrel command preloads sees calls of malloc. An allocator that is part of a Rust
//! program is not called that way, and into a static program nothing can be preloaded. This puts
//! the same recording around any [`GlobalAlloc`]:
//!
//! ```
//! use carrel_hook::Recorded;
//! use std::alloc::System;
//!
//! #[global_allocator]
//! static GLOBAL: Recorded<System> = Recorded::new(System);
//!
//! fn main() {
//!     assert_eq!(vec![1; 100].len(), 100);
//! }
//! ```
//!
//! Started in any other way than by the command, the program behaves as without it; a call costs
//! one relaxed load and a branch more. What C code in the same program gets from malloc is not
//! seen.

#![no_std]

use core::alloc::{GlobalAlloc, Layout};

/// A global allocator whose calls the carrel command can record. As thread-safe as `A` is.
#[derive(Debug, Default, Clone, Copy)]
pub struct Recorded<A>(A);

impl<A> Recorded<A> {
    /// Puts the recording around `allocator`.
    pub const fn new(allocator: A) -> Self {
        Recorded(allocator)
    }

    /// The allocator inside, for what it has beside allocating.
    pub const fn inner(&self) -> &A {
        &self.0
    }
}

// SAFETY: every call goes to `A` with the arguments as they are, and its result is given back; what
// is reported in between neither allocates nor unwinds.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Recorded<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `A` asks for; so below.
        let block = unsafe { self.0.alloc(layout) };
        if hook::is_on() {
            hook::allocated::<A>(block, layout, false);
        }
        block
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let block = unsafe { self.0.alloc_zeroed(layout) };
        if hook::is_on() {
            hook::allocated::<A>(block, layout, true);
        }
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if hook::is_on() {
            hook::freeing::<A>(block);
        }
        // SAFETY: as above.
        unsafe { self.0.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !hook::is_on() {
            // SAFETY: as above.
            return unsafe { self.0.realloc(block, layout, size) };
        }
        hook::resizing::<A>(block, size);
        // SAFETY: as above.
        let moved = unsafe { self.0.realloc(block, layout, size) };
        hook::resized(moved, size);
        moved
    }
}

#[cfg(carrel_hook)]
mod hook {
    use core::alloc::Layout;
    use core::any::type_name;
    use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

    // tools/carrel/hook/linked/calls.h
    extern "C" {
        #[link_name = "carrel_hook_state"]
        static STATE: AtomicU8;
        fn carrel_hook_start(name: *const u8, length: usize, from_malloc: i32);
        fn carrel_hook_allocated(block: *const u8, size: usize, alignment: usize, zeroed: i32);
        fn carrel_hook_freeing(block: *const u8);
        fn carrel_hook_resizing(block: *const u8, size: usize);
        fn carrel_hook_resized(block: *const u8, size: usize);
    }

    static STARTED: AtomicBool = AtomicBool::new(false);

    /// Whether there may be somebody to report to. Off once and for all in a program that is not
    /// recorded, after its first call.
    #[inline(always)]
    pub fn is_on() -> bool {
        // SAFETY: a byte that C++ changes by atomic stores alone. Relaxed: nothing is read on its
        // word but the hook's own state, which checks for itself.
        unsafe { STATE.load(Ordering::Relaxed) != 0 }
    }

    /// The first report attaches to the recorder. It comes before the program has threads.
    #[inline]
    fn start<A>() {
        if !STARTED.load(Ordering::Relaxed) {
            STARTED.store(true, Ordering::Relaxed);
            let name = type_name::<A>();
            let from_malloc = name == "std::alloc::System";
            // SAFETY: the name is read during the call only; a second call does nothing.
            unsafe { carrel_hook_start(name.as_ptr(), name.len(), from_malloc.into()) }
        }
    }

    #[cold]
    pub fn allocated<A>(block: *const u8, layout: Layout, zeroed: bool) {
        start::<A>();
        // SAFETY: takes addresses as numbers; the layout's alignment is a power of two.
        unsafe { carrel_hook_allocated(block, layout.size(), layout.align(), zeroed.into()) }
    }

    #[cold]
    pub fn freeing<A>(block: *const u8) {
        start::<A>();
        // SAFETY: takes an address as a number.
        unsafe { carrel_hook_freeing(block) }
    }

    #[cold]
    pub fn resizing<A>(block: *const u8, size: usize) {
        start::<A>();
        // SAFETY: takes an address as a number.
        unsafe { carrel_hook_resizing(block, size) }
    }

    #[cold]
    pub fn resized(block: *const u8, size: usize) {
        // SAFETY: takes an address as a number.
        unsafe { carrel_hook_resized(block, size) }
    }
}

#[cfg(not(carrel_hook))]
mod hook {
    use core::alloc::Layout;

    #[inline(always)]
    pub fn is_on() -> bool {
        false
    }
    pub fn allocated<A>(_block: *const u8, _layout: Layout, _zeroed: bool) {}
    pub fn freeing<A>(_block: *const u8) {}
    pub fn resizing<A>(_block: *const u8, _size: usize) {}
    pub fn resized(_block: *const u8, _size: usize) {}
}
