//! A program that forgot `global!()` and has another global allocator: `prove` is not taken in.

use std::alloc::{GlobalAlloc, Layout, System};

/// Keeps 16 bytes before each block, so that no other allocator hands out its addresses.
struct Shifted;

// SAFETY: blocks of 16-byte alignment or less lie 16 bytes into System's, others are System's own.
unsafe impl GlobalAlloc for Shifted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the size is larger than 0 and the shift within the block.
        unsafe {
            if layout.align() > 16 {
                return System.alloc(layout);
            }
            let block = System.alloc(Layout::from_size_align_unchecked(layout.size() + 16, 16));
            if block.is_null() {
                block
            } else {
                block.add(16)
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: undoes what alloc did.
        unsafe {
            if layout.align() > 16 {
                return System.dealloc(block, layout);
            }
            let whole = Layout::from_size_align_unchecked(layout.size() + 16, 16);
            System.dealloc(block.sub(16), whole);
        }
    }
}

#[global_allocator]
static GLOBAL: Shifted = Shifted;

fn main() {
    let proof = carrel_select::prove();
    println!("{}: {proof}", carrel_select::NAME);
    std::process::exit(if proof.holds() { 0 } else { 1 });
}
