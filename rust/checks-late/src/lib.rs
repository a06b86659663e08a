//! What tests/rust/late_load.py loads into Python: a plugin whose own allocator is carrel, while
//! the program that loads it keeps its own.

use std::collections::HashMap;
use std::thread;

#[global_allocator]
static GLOBAL: carrel::Carrel = carrel::Carrel;

/// Builds and drops maps on the calling thread. Returns how many strings were right, and 0 if the
/// plugin's memory is not carrel's.
#[no_mangle]
pub extern "C" fn late_work(count: usize) -> usize {
    let map: HashMap<String, Vec<u8>> =
        (0..count).map(|n| (format!("key {n}"), vec![n as u8; n % 500])).collect();
    if map.values().any(|value| !value.is_empty() && carrel::owns(value.as_ptr()) != Some(true)) {
        return 0;
    }
    (0..count).filter(|n| map[&format!("key {n}")].len() == n % 500).count()
}

/// The same on `threads` threads of the plugin's own, which end before it returns.
#[no_mangle]
pub extern "C" fn late_work_on_threads(threads: usize, count: usize) -> usize {
    let workers: Vec<_> = (0..threads).map(|_| thread::spawn(move || late_work(count))).collect();
    workers.into_iter().map(|worker| worker.join().unwrap_or(0)).sum()
}

/// 1 if the address is in the plugin's heap.
#[no_mangle]
pub extern "C" fn late_owns(block: *const u8) -> i32 {
    (carrel::owns(block) == Some(true)) as i32
}
