//! What the tests in `tests/` share: blocks whose contents can be checked.

use std::alloc::Layout;
use std::ptr::NonNull;

use allocator_api2::alloc::Allocator;
use carrel::Carrel;

/// A live block of carrel's, filled with a pattern of its own.
pub struct Block {
    start: NonNull<u8>,
    layout: Layout,
    seed: u8,
}

impl Block {
    /// Allocates, checks the alignment and, if `zeroed`, the zeros; then fills the block.
    pub fn new(layout: Layout, zeroed: bool, seed: u8) -> Self {
        let got = if zeroed { Carrel.allocate_zeroed(layout) } else { Carrel.allocate(layout) };
        let got = got.unwrap_or_else(|_| panic!("carrel has no memory for {layout:?}"));
        assert!(got.len() >= layout.size());
        let block = Block { start: got.cast(), layout, seed };
        block.check_alignment();
        if zeroed {
            assert!(block.bytes().iter().all(|&byte| byte == 0), "not zero: {layout:?}");
        }
        block.fill(0);
        block
    }

    /// Grows or shrinks to `layout`, which may ask for another alignment, and checks what is kept.
    pub fn resize(&mut self, layout: Layout) {
        self.check();
        let old = self.layout;
        // SAFETY: a live block with its layout; shrink and grow as the sizes say.
        let got = unsafe {
            if layout.size() >= old.size() {
                Carrel.grow(self.start, old, layout)
            } else {
                Carrel.shrink(self.start, old, layout)
            }
        };
        self.start = got.unwrap_or_else(|_| panic!("no {layout:?} for {old:?}")).cast();
        self.layout = layout;
        self.check_alignment();
        let kept = old.size().min(layout.size());
        self.check_first(kept);
        self.fill(kept);
    }

    /// Checks that nobody else wrote to the block.
    pub fn check(&self) {
        self.check_first(self.layout.size());
    }

    /// Where the block starts.
    pub fn address(&self) -> *const u8 {
        self.start.as_ptr()
    }

    fn pattern(&self, index: usize) -> u8 {
        // Differs between neighbours, blocks and pages.
        (index as u8) ^ self.seed ^ (index >> 8) as u8 ^ (index >> 16) as u8
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the block is live and was either zeroed or filled.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }

    fn fill(&self, from: usize) {
        for index in from..self.layout.size() {
            // SAFETY: within the live block.
            unsafe { self.start.as_ptr().add(index).write(self.pattern(index)) };
        }
    }

    fn check_first(&self, count: usize) {
        let wrong = self.bytes()[..count].iter().zip(0..).position(|(&b, i)| b != self.pattern(i));
        assert_eq!(wrong, None, "byte changed in a block of {:?}", self.layout);
    }

    fn check_alignment(&self) {
        let address = self.start.as_ptr() as usize;
        assert_eq!(address % self.layout.align(), 0, "misaligned: {:?}", self.layout);
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        }
        // SAFETY: live, with its layout, and not used again.
        unsafe { Carrel.deallocate(self.start, self.layout) };
    }
}
// Nothing in it depends on the thread that made it.
unsafe impl Send for Block {}
