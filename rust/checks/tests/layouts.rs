//! Every kind of layout, in random sequences that proptest shrinks when one fails: sizes from 0 to
//! 4 MiB, alignments from 1 to 4 MiB, zeroed or not, resized within and across alignments. carrel
//! is the global allocator too, so that proptest itself and the harness run on it.

use std::alloc::{GlobalAlloc, Layout};

use carrel::Carrel;
use carrel_checks::Block;
use proptest::prelude::*;

#[global_allocator]
static GLOBAL: Carrel = Carrel;

const MAX_SHIFT: u32 = 22; // 4 MiB

/// All magnitudes alike, with what lies just below, at and just above each power of two.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        1 => Just(0usize),
        4 => (0..=MAX_SHIFT, -1isize..=1).prop_map(|(shift, off)| {
            (1usize << shift).saturating_add_signed(off).min(1 << MAX_SHIFT)
        }),
        8 => (0..MAX_SHIFT).prop_flat_map(|shift| (1usize << shift)..=(2usize << shift)),
    ]
}

fn layouts() -> impl Strategy<Value = Layout> {
    let shifts = prop_oneof![3 => 0..=4u32, 2 => 0..=MAX_SHIFT];
    (sizes(), shifts).prop_map(|(size, shift)| Layout::from_size_align(size, 1 << shift).unwrap())
}

#[derive(Clone, Debug)]
enum Step {
    Allocate(Layout, bool),
    Resize(usize, Layout),
    Free(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (layouts(), any::<bool>()).prop_map(|(layout, zeroed)| Step::Allocate(layout, zeroed)),
        3 => (any::<usize>(), layouts()).prop_map(|(which, layout)| Step::Resize(which, layout)),
        3 => any::<usize>().prop_map(Step::Free),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn blocks_keep_size_alignment_and_contents(steps in steps()) {
        let mut live: Vec<Block> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Allocate(layout, zeroed) => {
                    live.push(Block::new(layout, zeroed, number as u8));
                }
                Step::Resize(which, layout) if !live.is_empty() => {
                    let index = which % live.len();
                    live[index].resize(layout);
                }
                Step::Free(which) if !live.is_empty() => {
                    let index = which % live.len();
                    drop(live.swap_remove(index));
                }
                _ => {}
            }
        }
    }

    /// What the trait's realloc promises, which unlike `Allocator` keeps the alignment.
    #[test]
    fn realloc_keeps_the_alignment(
        layout in layouts().prop_filter("the trait allocates something", |l| l.size() > 0),
        new_size in sizes().prop_filter("and so does realloc", |&size| size > 0),
    ) {
        // SAFETY: sizes are not zero; writes and reads are within the block; freed once.
        unsafe {
            let block = Carrel.alloc(layout);
            prop_assert!(!block.is_null());
            block.write(7);
            block.add(layout.size() - 1).write(7);
            let moved = Carrel.realloc(block, layout, new_size);
            prop_assert!(!moved.is_null());
            prop_assert_eq!(moved as usize % layout.align(), 0);
            prop_assert_eq!(moved.read(), 7);
            if new_size >= layout.size() {
                prop_assert_eq!(moved.add(layout.size() - 1).read(), 7);
            }
            Carrel.dealloc(moved, Layout::from_size_align(new_size, layout.align()).unwrap());
        }
    }
}

/// The whole matrix once, at its corners: every power of two against every alignment.
#[test]
fn every_power_of_two_at_every_alignment() {
    for size_shift in 0..=MAX_SHIFT {
        for align_shift in 0..=MAX_SHIFT {
            let layout = Layout::from_size_align(1 << size_shift, 1 << align_shift).unwrap();
            for zeroed in [false, true] {
                // SAFETY: the size is not zero; the ends lie within the block; freed once.
                unsafe {
                    let block =
                        if zeroed { Carrel.alloc_zeroed(layout) } else { Carrel.alloc(layout) };
                    assert!(!block.is_null(), "{layout:?}");
                    assert_eq!(block as usize % layout.align(), 0, "{layout:?}");
                    let last = block.add(layout.size() - 1);
                    assert!(!zeroed || (block.read() == 0 && last.read() == 0), "{layout:?}");
                    block.write(1);
                    last.write(1);
                    Carrel.dealloc(block, layout);
                }
            }
        }
    }
}

/// Exhaustion is null, not a panic; the old block of a failed realloc stays.
#[test]
fn impossible_sizes_are_null() {
    for align in [1, 16, 4096] {
        let layout = Layout::from_size_align(isize::MAX as usize & !4095, align).unwrap();
        // SAFETY: the size is not zero; null is expected, and checked.
        unsafe {
            assert!(Carrel.alloc(layout).is_null());
            assert!(Carrel.alloc_zeroed(layout).is_null());
            let small = Layout::from_size_align(100, align).unwrap();
            let block = Carrel.alloc(small);
            block.write(5);
            assert!(Carrel.realloc(block, small, layout.size()).is_null());
            assert_eq!(block.read(), 5);
            Carrel.dealloc(block, small);
        }
    }
}
