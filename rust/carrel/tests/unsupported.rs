//! Where carrel does not run, the system's allocator serves in its place: blocks of one go back to
//! the other. Under Miri, which also sees a block that is freed wrongly or not at all:
//!
//!     cargo +nightly miri test -p carrel --test unsupported
#![cfg(miri)]

use std::alloc::{GlobalAlloc, Layout, System};

use carrel::Carrel;

#[global_allocator]
static GLOBAL: Carrel = Carrel;

#[test]
fn carrel_says_that_it_does_not_run() {
    let block = Box::new(1u64);
    assert_eq!((carrel::SUPPORTED, carrel::version()), (false, ""));
    assert_eq!(carrel::owns((&raw const *block).cast()), None);
    assert_eq!(carrel::purge(), 0);
}

#[test]
fn blocks_are_the_systems() {
    for (size, align) in [(1, 1), (24, 8), (100, 64), (5000, 4096), (300_000, 16)] {
        let layout = Layout::from_size_align(size, align).unwrap();
        // SAFETY: each block is used within its size and freed once, with its layout.
        unsafe {
            let block = Carrel.alloc(layout);
            assert!(!block.is_null() && block.addr() % align == 0);
            block.write_bytes(7, size);
            System.dealloc(block, layout);
            let block = System.alloc_zeroed(layout);
            assert_eq!(block.add(size - 1).read(), 0);
            let block = Carrel.realloc(block, layout, 2 * size);
            let layout = Layout::from_size_align(2 * size, align).unwrap();
            assert_eq!(block.add(size - 1).read(), 0);
            Carrel.dealloc(block, layout);
        }
    }
}

#[test]
fn as_global_allocator_it_serves_threads() {
    let words = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|n| scope.spawn(move || (0..20).map(|i| format!("{n} {i}")).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!((words.len(), words[59].as_str()), (60, "2 19"));
}
