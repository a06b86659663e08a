//! Arenas as allocators of collections, in a program whose global allocator is the system's.

use std::mem;
use std::thread;

use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;
use carrel::Arena;

#[test]
fn collections_live_in_an_arena() {
    let arena = Arena::new().unwrap();
    let mut numbers = Vec::new_in(&arena);
    for n in 0..50_000u64 {
        numbers.push(n);
    }
    // SAFETY: live blocks of carrel's.
    assert!(unsafe { arena.owns(numbers.as_ptr().cast()) });
    assert_eq!(carrel::owns(numbers.as_ptr().cast()), Some(true));
    let elsewhere = Box::new_in(5u64, carrel::Carrel);
    assert!(unsafe { !arena.owns((&raw const *elsewhere).cast()) });
    numbers.truncate(3);
    numbers.shrink_to_fit();
    assert_eq!(numbers.as_slice(), [0, 1, 2]);
    assert_eq!(arena.stats().live_blocks, 1);
    drop(numbers);
    assert_eq!(arena.stats().live_blocks, 0);
    assert!(arena.stats().allocations >= 2);
}

#[test]
fn a_hash_table_in_an_arena() {
    let arena = Arena::new().unwrap();
    let mut table = hashbrown::HashMap::new_in(&arena);
    for n in 0..10_000u32 {
        table.insert(n, n * 2);
    }
    table.retain(|n, _| n % 3 == 0);
    table.shrink_to_fit();
    assert_eq!(table[&300], 600);
    assert!(arena.stats().live_blocks >= 1);
}

#[test]
fn leaked_blocks_go_with_the_arena() {
    let mut arena = Arena::new().unwrap();
    for round in 0..3 {
        for n in 0..1000usize {
            let text = Box::leak(Box::new_in([n; 20], &arena));
            assert_eq!(text[19], n);
        }
        assert_eq!(arena.stats().live_blocks, 1000, "round {round}");
        arena.reset();
        assert_eq!(arena.stats().live_blocks, 0, "round {round}");
    }
}

#[test]
fn coarse_alignments_and_zeros() {
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    let arena = Arena::new().unwrap();
    let page = Box::new_in(Page([7; 4096]), &arena);
    assert_eq!(&raw const *page as usize % 4096, 0);
    assert_eq!(page.0[4095], 7);
    let mut pages = Vec::new_in(&arena);
    for n in 0..20u8 {
        pages.push(Page([n; 4096]));
        assert_eq!(pages.as_ptr() as usize % 4096, 0);
    }
    assert!(pages.iter().zip(0..).all(|(page, n)| page.0[100] == n));
    // SAFETY: all-zero bytes are numbers.
    let zeros = unsafe { Box::<[u64], _>::new_zeroed_slice_in(5000, &arena).assume_init() };
    assert!(zeros.iter().all(|&number| number == 0));
}

#[test]
fn a_limit_is_kept() {
    let arena = Arena::new().unwrap();
    arena.set_limit(4 << 20);
    let mut bytes: Vec<u8, _> = Vec::new_in(&arena);
    assert!(bytes.try_reserve_exact(1 << 20).is_ok());
    assert!(bytes.try_reserve_exact(16 << 20).is_err());
    assert_eq!(arena.stats().limit_bytes, 4 << 20);
}

#[test]
fn threads_share_an_arena() {
    let arena = Arena::new().unwrap();
    thread::scope(|scope| {
        for thread in 0..4usize {
            let arena = &arena;
            scope.spawn(move || {
                let mut kept = Vec::new_in(arena);
                for n in 0..500 {
                    kept.push(Box::new_in([thread * n; 9], arena));
                }
                assert!(kept.iter().zip(0..).all(|(block, n)| block[8] == thread * n));
                mem::forget(kept);
            });
        }
    });
    assert_eq!(arena.stats().live_blocks, 4 * 501);
}
