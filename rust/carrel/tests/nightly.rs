//! The standard library's own collections on `Carrel`, by the unstable `Allocator`. A stable
//! compiler runs it with RUSTC_BOOTSTRAP=1.
#![feature(allocator_api)]

use carrel::Carrel;

#[test]
fn vectors_grow_and_shrink() {
    let mut numbers = Vec::new_in(Carrel);
    numbers.extend(0..100_000u64);
    assert_eq!(carrel::owns(numbers.as_ptr().cast()), Some(true));
    numbers.truncate(100);
    numbers.shrink_to_fit();
    assert_eq!(numbers.capacity(), 100);
    assert_eq!(numbers.iter().sum::<u64>(), 4950);
    let elsewhere = vec![0u8; 100];
    assert_eq!(carrel::owns(elsewhere.as_ptr()), Some(false));
}

#[test]
fn boxes_keep_coarse_alignments() {
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    let page = Box::new_in(Page([1; 4096]), Carrel);
    assert_eq!(&raw const *page as usize % 4096, 0);
    assert_eq!(page.0[4095], 1);
    // SAFETY: all-zero bytes are a valid Page.
    let zeroed = unsafe { Box::<[Page], Carrel>::new_zeroed_slice_in(30, Carrel).assume_init() };
    assert!(zeroed.iter().all(|page| page.0.iter().all(|&byte| byte == 0)));
    assert_eq!(zeroed.as_ptr() as usize % 4096, 0);
    assert_eq!(carrel::owns(zeroed.as_ptr().cast()), Some(true));
}
