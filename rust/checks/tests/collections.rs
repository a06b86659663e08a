//! `Carrel` as the allocator of single collections, in a program whose global allocator is the
//! system's: the two heaps side by side.

use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;
use carrel::Carrel;

#[test]
fn vectors_and_boxes_on_carrel() {
    let mut numbers = Vec::new_in(Carrel);
    for n in 0..100_000u64 {
        numbers.push(n);
    }
    assert_eq!(carrel::owns(numbers.as_ptr().cast()), Some(true));
    numbers.truncate(10);
    numbers.shrink_to_fit();
    assert_eq!(numbers.as_slice(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let boxed = Box::new_in([7u8; 4000], Carrel);
    assert_eq!(carrel::owns(boxed.as_ptr()), Some(true));
    let elsewhere = std::vec![0u8; 4000];
    assert_eq!(carrel::owns(elsewhere.as_ptr()), Some(false));
}

#[test]
fn nothing_is_allocated_for_nothing() {
    let nothing: Box<(), Carrel> = Box::new_in((), Carrel);
    assert_eq!(carrel::owns((&raw const *nothing).cast()), Some(false));
}

#[test]
fn a_hash_table_on_carrel() {
    let mut table = hashbrown::HashMap::new_in(Carrel);
    for n in 0..20_000u32 {
        table.insert(n, n.to_string());
    }
    table.retain(|n, _| n % 7 == 0);
    table.shrink_to_fit();
    assert_eq!(table.len(), 2858);
    assert_eq!(table[&14], "14");
}
